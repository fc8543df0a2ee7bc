import { assert, describe, it } from "@effect/vitest"
import { Duration } from "effect"
import type { BallastModel } from "../src/index.ts"
import { Rollout } from "../src/index.ts"

const v1 = { source: "/models/flow/1", version: "1" }
const v2 = { source: "/models/flow/2", version: "2" }
const canary = { weight: 10, steps: 3, interval: Duration.minutes(1), maxErrorRatio: 0.05, minCalls: 100 }

const held = (version: string, given: Partial<Rollout.Loaded> = {}): Rollout.Loaded => ({
  version,
  state: "ready",
  weight: 0,
  calls: 0,
  errors: 0,
  ...given
})

const pod = (name: string, holds: Rollout.Pod["holds"], labelled = true): Rollout.Pod => ({
  name,
  instance: `${name}/0`,
  labelled,
  holds
})

const decide = (situation: Partial<Rollout.Situation> & Pick<Rollout.Situation, "spec" | "pods">) =>
  Rollout.decide({ generation: 3, status: {}, now: 0, ...situation })

const actionsOf = ({ actions }: Rollout.Decision): Record<string, ReadonlyArray<Rollout.Action>> =>
  Object.fromEntries(actions.map(({ actions, pod }) => [pod, actions]))

const condition = ({ status }: Rollout.Decision, type: string) => {
  const found = status.conditions?.find((one) => one.type === type)
  return `${found?.status} ${found?.reason}: ${found?.message}`
}

/** A canary of version 2 whose first step began at 0. */
const begun = (pods: ReadonlyArray<Rollout.Pod>, spec: BallastModel.Spec = { ...v2, canary }) =>
  decide({ spec, status: { stable: v1 }, pods }).status

describe("Rollout", () => {
  describe("the first version", () => {
    it("is loaded on all pods, takes their calls when it is ready, and is then the one that serves", () => {
      const loading = decide({ spec: v1, pods: [pod("a", [], false), pod("b", [held("1")], false)] })
      assert.deepStrictEqual(actionsOf(loading), {
        a: [{ do: "load", target: v1 }],
        b: [{ do: "weigh", weights: { 1: 100 } }]
      })
      assert.isUndefined(loading.status.stable)
      assert.strictEqual(condition(loading, "Progressing"), "True Loading: version 1 is ready on 1 of 2 pods")
      const serving = decide({
        spec: v1,
        pods: [pod("a", [held("1", { weight: 100 })]), pod("b", [held("1", { weight: 100 })])]
      })
      assert.deepStrictEqual(serving.actions, [])
      assert.deepStrictEqual(serving.status.stable, v1)
      assert.strictEqual(condition(serving, "Ready"), "True Serving: version 1 serves on 2 of 2 pods")
    })

    it("goes to as many pods as wished, first of all to those that have it", () => {
      const pods = [pod("a", [], false), pod("b", [], false), pod("c", [held("1", { weight: 100 })])]
      const decision = decide({ spec: { ...v1, replicas: 2 }, status: { stable: v1 }, pods })
      assert.deepStrictEqual(actionsOf(decision), { a: [{ do: "load", target: v1 }] })
      assert.strictEqual(condition(decision, "Ready"), "False TooFewPods: version 1 serves on 1 of 2 pods")
    })

    it("leaves pods that should not hold it, without calls first", () => {
      const pods = [pod("a", [held("1", { weight: 100 })]), pod("b", [held("1", { weight: 100 })])]
      const decision = decide({ spec: { ...v1, replicas: 1 }, status: { stable: v1 }, pods })
      assert.deepStrictEqual(actionsOf(decision), {
        b: [{ do: "label", serving: false }, { do: "unload", version: "1" }]
      })
    })
  })

  describe("the next version", () => {
    it("has no calls until it is ready on all pods", () => {
      const pods = [
        pod("a", [held("1", { weight: 100 }), held("2")]),
        pod("b", [held("1", { weight: 100 }), held("2", { state: "loading" })])
      ]
      for (const spec of [v2, { ...v2, canary }]) {
        const decision = decide({ spec, status: { stable: v1 }, pods })
        assert.deepStrictEqual(decision.actions, [])
        assert.deepStrictEqual(decision.status.stable, v1)
        assert.isUndefined(decision.status.canary)
      }
    })

    it("takes all calls at once without a canary; the old one leaves when it has none", () => {
      const pods = [pod("a", [held("1", { weight: 100 }), held("2")])]
      const decision = decide({ spec: v2, status: { stable: v1 }, pods })
      assert.deepStrictEqual(actionsOf(decision), { a: [{ do: "weigh", weights: { 1: 0, 2: 100 } }] })
      const after = decide({
        spec: v2,
        status: decision.status,
        pods: [pod("a", [held("1"), held("2", { weight: 100 })])]
      })
      assert.deepStrictEqual(actionsOf(after), { a: [{ do: "unload", version: "1" }] })
      const draining = [pod("a", [held("1", { state: "draining" }), held("2", { weight: 100 })])]
      assert.deepStrictEqual(decide({ spec: v2, status: decision.status, pods: draining }).actions, [])
    })

    it("is loaded again with growing delays when it fails, and takes no calls", () => {
      const pods = [
        pod("a", [held("1", { weight: 100 }), held("2", { state: "failed", reason: "golden input 1 disagrees" })])
      ]
      let status: BallastModel.Status = { stable: v1 }
      const tries: Array<number> = []
      for (let now = 0; now < 400_000; now += 5000) {
        const decision = decide({ spec: v2, status, pods, now })
        if (decision.actions.length > 0) tries.push(now / 1000)
        assert.match(
          condition(decision, "Degraded"),
          /^True LoadFailed: version 2 can't be loaded on a: golden input 1/
        )
        assert.deepStrictEqual(decision.status.stable, v1)
        // While it loads it has not failed, which must not forget the tries.
        status = decide({
          spec: v2,
          status: decision.status,
          pods: [pod("a", [held("1", { weight: 100 }), held("2", { state: "loading" })])],
          now
        }).status
      }
      assert.deepStrictEqual(tries, [0, 30, 90, 210])
    })

    it("is refused when it has the name of the one that serves", () => {
      const pods = [pod("a", [held("1", { weight: 100 })])]
      const decision = decide({ spec: { ...v1, source: "/elsewhere" }, status: { stable: v1 }, pods })
      assert.deepStrictEqual(decision.actions, [])
      assert.match(condition(decision, "Degraded"), /^True VersionReused: .* give the change a new version$/)
    })
  })

  describe("a canary", () => {
    const serving = (weight: number, given: Partial<Rollout.Loaded> = {}) => [
      pod("a", [held("1", { weight: 100 - weight, calls: 900 }), held("2", { weight, ...given })])
    ]

    it("goes on by steps, each after its time and its calls, and then takes all", () => {
      let status = begun(serving(0))
      assert.deepInclude(status.canary, { step: 0, weight: 10 })
      const at = (seconds: number, calls: number, weight: number) => {
        const decision = decide({
          spec: { ...v2, canary },
          status,
          pods: serving(weight, { calls }),
          now: seconds * 1000
        })
        status = decision.status
        return decision
      }
      assert.deepStrictEqual(actionsOf(at(0, 0, 0)), { a: [{ do: "weigh", weights: { 1: 90, 2: 10 } }] })
      assert.deepInclude(at(59, 1000, 10).status.canary, { step: 0, calls: 1000 })
      assert.deepInclude(at(60, 1000, 10).status.canary, { step: 1, weight: 40, calls: 0 })
      assert.deepInclude(at(120, 1099, 40).status.canary, { step: 1, calls: 99 })
      assert.match(
        condition(at(121, 1099, 40), "Progressing"),
        /step 2 of 3\), 99 calls, 0 errors; the step needs 100 calls$/
      )
      assert.deepInclude(at(122, 1100, 40).status.canary, { step: 2, weight: 70 })
      assert.deepStrictEqual(at(182, 1200, 70).status.stable, v2)
      assert.isUndefined(status.canary)
    })

    it("is judged by what happened since the step began", () => {
      const spec = { ...v2, canary }
      const status = begun(serving(0, { calls: 1000, errors: 900 }))
      const after = (calls: number, errors: number) =>
        decide({ spec, status, pods: serving(10, { calls, errors }), now: 1000 })
      assert.deepInclude(after(1100, 905).status.canary, { calls: 100, errors: 5 })
      const back = after(1100, 906)
      assert.isUndefined(back.status.canary)
      assert.deepStrictEqual(actionsOf(back), { a: [{ do: "weigh", weights: { 1: 100, 2: 0 } }] })
      assert.strictEqual(
        condition(back, "Degraded"),
        "True TurnedBack: version 2 was turned back at 10 % (step 1): 6 of 100 calls failed (6 %), more than 5 %"
      )
    })

    it("turns back before the least number of calls when the errors are too many for that already", () => {
      const status = begun(serving(0))
      const after = (errors: number) =>
        decide({ spec: { ...v2, canary }, status, pods: serving(10, { calls: 10, errors }), now: 1000 }).status
          .turnedBack
      assert.isUndefined(after(5))
      assert.strictEqual(after(6)?.reason, "TooManyErrors")
    })

    it("turns back when it is slow, judged by all pods", () => {
      const spec = { ...v2, canary: { ...canary, maxLatency: Duration.millis(200) } }
      const pods = (p95: number, calls: number) => [
        pod("a", [held("1", { weight: 90 }), held("2", { weight: 10, calls, p95 })]),
        pod("b", [held("1", { weight: 90 }), held("2", { weight: 10, calls: 3 * calls, p95: 0.1 })])
      ]
      const status = begun(pods(0, 0), spec)
      const after = (p95: number, calls: number) =>
        decide({ spec, status, pods: pods(p95, calls), now: 1000 }).status.turnedBack
      assert.isUndefined(after(0.5, 25))
      assert.strictEqual(after(0.51, 25)?.reason, "TooSlow")
      assert.isUndefined(after(9, 24), "too few calls")
    })

    it("counts a container that started anew from zero", () => {
      const status = begun(serving(0, { calls: 1000, errors: 100 }))
      const [first] = serving(10, { calls: 100, errors: 4 })
      const pods = first === undefined ? [] : [{ ...first, instance: "a/1" }]
      assert.deepInclude(decide({ spec: { ...v2, canary }, status, pods }).status.canary, { calls: 100, errors: 4 })
    })

    it("is not tried again after it was turned back, until its part of the spec changes", () => {
      const spec = { ...v2, canary }
      const { status } = decide({ spec, status: begun(serving(0)), pods: serving(10, { calls: 100, errors: 50 }) })
      const again = (changed: Partial<BallastModel.Spec>) =>
        actionsOf(decide({ spec: { ...spec, ...changed }, status, pods: [pod("a", [held("1", { weight: 100 })])] }))
      assert.deepStrictEqual(again({}), {})
      assert.deepStrictEqual(again({ replicas: 1 }), {})
      assert.deepStrictEqual(again({ canary: { ...canary, maxErrorRatio: 0.6 } }), {
        a: [{ do: "load", target: { source: v2.source, version: "2" } }]
      })
      assert.deepStrictEqual(Object.keys(again({ version: "3" })), ["a"])
    })

    it("ends when the spec goes back to the version that serves", () => {
      const decision = decide({ spec: v1, status: begun(serving(0)), pods: serving(10) })
      assert.deepStrictEqual(actionsOf(decision), { a: [{ do: "weigh", weights: { 1: 100, 2: 0 } }] })
      assert.isUndefined(decision.status.canary)
    })

    it("waits while a pod does not have the version, or does not answer", () => {
      const spec = { ...v2, canary }
      const status = begun(serving(0))
      const [first] = serving(10, { calls: 500 })
      const loading = pod("b", [held("1", { weight: 100 }), held("2", { state: "loading" })])
      for (const other of [loading, pod("b", { problem: "no answer in time" })]) {
        const decision = decide({ spec, status, pods: first === undefined ? [] : [first, other], now: 600_000 })
        assert.deepInclude(decision.status.canary, { step: 0 })
        assert.isUndefined(actionsOf(decision)["b"])
      }
    })
  })

  it("asks nothing of a pod that did not answer, and tells of it", () => {
    const pods = [pod("a", [held("1", { weight: 100 })]), pod("b", { problem: "the admin key is refused (401)" })]
    const decision = decide({ spec: v1, status: { stable: v1 }, pods })
    assert.deepStrictEqual(decision.actions, [])
    assert.strictEqual(condition(decision, "Ready"), "False TooFewPods: version 1 serves on 1 of 2 pods")
    assert.strictEqual(
      condition(decision, "Degraded"),
      "True PodsUnreachable: no answer from b (the admin key is refused (401))"
    )
  })

  it("says when a condition changed, and keeps that time", () => {
    const pods = [pod("a", [held("1", { weight: 100 })])]
    const first = decide({ spec: v1, pods, now: 1000 })
    const second = decide({ spec: v1, pods, status: first.status, now: 9000 })
    assert.deepStrictEqual(second.status, first.status)
    const lost = decide({ spec: v1, pods: [], status: first.status, now: 9000 })
    assert.deepStrictEqual(
      lost.status.conditions?.map(({ lastTransitionTime, type }) => [type, lastTransitionTime]),
      [
        ["Ready", "1970-01-01T00:00:09.000Z"],
        ["Progressing", "1970-01-01T00:00:01.000Z"],
        ["Degraded", "1970-01-01T00:00:01.000Z"]
      ]
    )
  })
})
