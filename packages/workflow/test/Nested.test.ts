import { Definition } from "@ballast/workflow"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import { broken, busy, echo, finish, type Given, recorder, steps } from "./fixtures.ts"

const services = { echo, broken: broken() }

const read = (text: string, files: Readonly<Record<string, string>> = {}, given: Given["services"] = services) =>
  Definition.read({
    name: "flows/main.yaml",
    text,
    services: given,
    texts: (name) => {
      const text = files[name]
      return text === undefined ? Effect.fail(`there is no file ${name}`) : Effect.succeed(text)
    }
  })

const mistakes = (text: string, files?: Readonly<Record<string, string>>) =>
  Effect.map(Effect.flip(read(text, files)), ({ message }) => message.split("\n"))

const calls = (file: string, service = "sub") => `services:\n  ${service}: { type: workflow, workflow: ${file} }\n`

/** Runs a file, with others inlined. */
const result = (text: string, files: Readonly<Record<string, string>>, given: Given = { services }) =>
  Effect.flatMap(
    read(text, files, given.services),
    (definition) => finish(definition.text, given)
  )

const outcome = (text: string, files: Readonly<Record<string, string>>, given: Given) =>
  Effect.map(
    result(text, files, given),
    ({ result }) => Result.isFailure(result) ? `${result.failure.step}: ${result.failure.reason}` : result.success
  )

describe("workflows within workflows", () => {
  it.effect("are read with what they name themselves, and kept whole", () =>
    Effect.gen(function*() {
      const files = {
        "lib/a.yaml": steps("- service: b", "output: { a: \"${output}\" }") + calls("b.yaml", "b"),
        "lib/b.yaml": steps("- { service: echo, input: \"${input + 1}\" }")
      }
      const main = steps("- { id: s, service: sub, input: 1 }") + calls("lib/a.yaml")
      const { events, result: output } = yield* result(main, files)
      assert.deepStrictEqual(output, Result.succeed({ a: 2 }))
      assert.deepStrictEqual(events.map(({ _tag, step }) => `${_tag} ${step}`), [
        "Started s",
        "Started s.b",
        "Started s.b.echo",
        "Succeeded s.b.echo",
        "Succeeded s.b",
        "Succeeded s"
      ])
      const definition = yield* read(main, files)
      assert.deepStrictEqual((yield* Definition.read({ name: "x", text: definition.text, services })).file, {
        ...definition.file,
        files
      })
    }))

  it.effect("say their mistakes with their own places, and when they are not there or run each other", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(
        yield* mistakes(steps("- service: sub") + calls("a.yaml"), { "a.yaml": steps("- service: nothing") }),
        ["flows/a.yaml:4:16: workflow.steps[0].service: there is no service nothing; known: echo, broken"]
      )
      assert.deepStrictEqual(yield* mistakes(steps("- service: sub") + calls("a.yaml")), [
        "flows/main.yaml:7:36: services.sub.workflow: there is no file a.yaml"
      ])
      const cycle = {
        "a.yaml": steps("- service: sub") + calls("b.yaml"),
        "b.yaml": steps("- service: sub") + calls("a.yaml")
      }
      assert.match(
        (yield* mistakes(steps("- service: sub") + calls("a.yaml"), cycle)).join(),
        /^flows\/b.yaml:.*services\.sub\.workflow: workflows run each other: a\.yaml → b\.yaml → a\.yaml$/
      )
      const deep = Object.fromEntries(
        Array.from({ length: 10 }, (_, n) => [`f${n}.yaml`, steps("- service: sub") + calls(`f${n + 1}.yaml`)])
      )
      assert.match(
        (yield* mistakes(steps("- service: sub") + calls("f0.yaml"), deep)).join(),
        /workflows are within each other more than 8 times$/
      )
    }))

  it.effect("fail with the step that failed, and handle errors themselves", () =>
    Effect.gen(function*() {
      const files = { "a.yaml": steps("- { id: x, service: broken }", "finally: [ { id: z, service: echo } ]") }
      const main =
        steps("- { id: s, service: sub, onError: { steps: [ { id: e, service: echo, input: \"${error.step}\" } ] } }") +
        calls("a.yaml")
      const { events, result: output } = yield* result(main, files)
      assert.deepStrictEqual(output, Result.succeed("s.x"))
      assert.deepStrictEqual(events.map(({ _tag, step }) => `${_tag} ${step}`), [
        "Started s",
        "Started s.x",
        "Failed s.x",
        "Started s.z",
        "Succeeded s.z",
        "Failed s",
        "Started e",
        "Succeeded e"
      ])
    }))

  it.effect("are tried again under the same keys, when their failure may pass", () =>
    Effect.gen(function*() {
      let failures = 1
      const one = recorder(() => failures-- > 0 ? Effect.fail(busy) : Effect.succeed("well"))
      const main = steps("- { id: s, service: sub, retry: { times: 1, base: 1ms } }") + calls("a.yaml")
      const given = { services: { ...services, one: one.service } }
      const { result: output } = yield* result(main, { "a.yaml": steps("- service: one") }, given)
      assert.deepStrictEqual(output, Result.succeed("well"))
      assert.deepStrictEqual(one.calls.map(({ idempotencyKey, stepId }) => [stepId, idempotencyKey]), [
        ["s.one", "run-1/s.one"],
        ["s#2.one", "run-1/s.one"]
      ])
    }))

  it.effect("are within the budget of the run, and their own ends with them", () =>
    Effect.gen(function*() {
      const one = recorder((_, { report }) => Effect.as(report({ promptTokens: 60 }), null))
      const given = { services: { ...services, one: one.service } }
      const files = {
        "a.yaml": steps("- { id: x, service: one }\n- { id: y, service: one }", "budget: { tokens: 50 }")
      }
      const text = (more: string, budget = "") =>
        steps(`- { id: s, service: sub, ${more} }\n- { id: t, service: one }`, budget) + calls("a.yaml")
      const at = (text: string) => outcome(text, files, given)
      assert.strictEqual(yield* at(text("onError: fail")), "s.y: the budget of the run is used up: 60 of 50 tokens")
      assert.isNull(yield* at(text("onError: continue")))
      assert.strictEqual(
        yield* at(text("onError: continue", "budget: { tokens: 40 }")),
        "s.y: the budget of the run is used up: 60 of 40 tokens"
      )
    }))
})
