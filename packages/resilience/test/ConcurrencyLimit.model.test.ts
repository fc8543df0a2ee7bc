import { ConcurrencyLimit, Priority } from "@ballast/resilience"
import * as Testing from "@ballast/resilience/testing"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schema } from "effect"
import { makeCalls, type Traits } from "./support/queueing.ts"

/** A limit that looks at everybody for each decision. */
const makeModel = (options: { limit: number; perTenant: number; readonly queue: number }) => {
  interface Call {
    readonly id: string
    readonly priority: Priority.Priority
    readonly tenant: string | undefined
    readonly weight: number
  }
  let waiting: Array<Call> = []
  let running: Array<Call> = []
  let log: Array<string> = []
  const tags = new Map<string, number>()
  const clocks = new Map<Priority.Priority, number>()

  const laneOf = ({ priority, tenant }: Call) => `${priority} ${tenant}`
  const tagOf = (call: Call) => tags.get(laneOf(call)) ?? 0
  const clockOf = (priority: Priority.Priority) => clocks.get(priority) ?? 0
  const taken = (calls: ReadonlyArray<Call>) => calls.reduce((sum, { weight }) => sum + weight, 0)
  const most = ({ tenant }: Call) => tenant === undefined ? options.limit : Math.min(options.limit, options.perTenant)
  const hasRoom = (call: Call) =>
    call.tenant === undefined
    || taken(running.filter(({ tenant }) => tenant === call.tenant)) + call.weight <= options.perTenant
  const mayGo = (call: Call) => call.weight > options.perTenant || hasRoom(call)
  const firsts = (priority: Priority.Priority) => {
    const inRank = waiting.filter((call) => call.priority === priority)
    return inRank.filter((call) => inRank.find((other) => laneOf(other) === laneOf(call)) === call)
  }

  const ready = new Set<string>()
  /** Lanes that become ready start at the clock of their priority. */
  const settle = () => {
    for (const priority of Priority.all) {
      const all = firsts(priority)
      if (all.length === 0) {
        clocks.delete(priority)
        for (const lane of tags.keys()) if (lane.startsWith(`${priority} `)) tags.delete(lane)
      }
      const lanes = new Set(all.filter(mayGo).map(laneOf))
      for (const lane of lanes) {
        if (!ready.has(lane)) tags.set(lane, Math.max(tags.get(lane) ?? 0, clockOf(priority)))
        ready.add(lane)
      }
      for (const lane of ready) if (lane.startsWith(`${priority} `) && !lanes.has(lane)) ready.delete(lane)
    }
  }

  const drop = (call: Call) => {
    waiting = waiting.filter((other) => other !== call)
    settle()
  }

  const serve = () => {
    for (;;) {
      const rank = Priority.all.map((priority) => firsts(priority).filter(mayGo)).find((calls) => calls.length > 0)
      const next = rank?.toSorted((a, b) => tagOf(a) - tagOf(b))[0]
      if (next === undefined) return
      if (next.weight > most(next)) {
        log.push(`TooHeavy ${next.id}`)
        drop(next)
      } else if (taken(running) + next.weight <= options.limit) {
        log.push(next.id)
        running.push(next)
        clocks.set(
          next.priority,
          Math.max(clockOf(next.priority), tagOf(next)) + next.weight / firsts(next.priority).length
        )
        tags.set(laneOf(next), tagOf(next) + next.weight)
        drop(next)
      } else return
    }
  }

  /** Whose place a newcomer takes in a full queue. */
  const lesser = (call: Call) => {
    const sizeOf = (other: Call) => waiting.filter((each) => laneOf(each) === laneOf(other)).length
    const victim = (priority: Priority.Priority) =>
      waiting.filter((other) => other.priority === priority).toReversed().toSorted((a, b) => sizeOf(b) - sizeOf(a))[0]
    for (const priority of Priority.all.toReversed()) {
      const found = victim(priority)
      if (priority === call.priority) {
        return found !== undefined && sizeOf(found) >= sizeOf(call) + 2
          ? found
          : undefined
      }
      if (found !== undefined) return found
    }
    return undefined
  }

  const arrive = (call: Call) => {
    if (call.weight > most(call)) return log.push(`TooHeavy ${call.id}`)
    const above = Priority.all.slice(0, Priority.all.indexOf(call.priority) + 1)
    const isNext = above.every((priority) => firsts(priority).filter(mayGo).length === 0)
      && !waiting.some((other) => laneOf(other) === laneOf(call))
    if (isNext && hasRoom(call) && taken(running) + call.weight <= options.limit) {
      log.push(call.id)
      return running.push(call)
    }
    if (waiting.length >= options.queue) {
      const victim = lesser(call)
      if (victim === undefined) return log.push(`QueueFull ${call.id}`)
      log.push(`QueueFull ${victim.id}`)
      drop(victim)
    }
    waiting.push(call)
    settle()
    return serve()
  }

  const leave = (id: string) => {
    running = running.filter((call) => call.id !== id)
    waiting = waiting.filter((call) => call.id !== id)
    settle()
    serve()
  }

  return {
    arrive,
    leave,
    oldest: () => running[0]?.id,
    someone: (index: number) => [...running, ...waiting][index]?.id,
    change: (change: { readonly limit?: number; readonly perTenant?: number }) => {
      Object.assign(options, change)
      settle()
      serve()
    },
    /** What has happened since the last time. */
    lap: () => {
      const happened = log
      log = []
      return happened
    },
    state: () => ({ limit: options.limit, running: taken(running), queued: waiting.length })
  }
}

const between = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))

describe("ConcurrencyLimit", () => {
  const Step = Schema.Struct({
    kind: Schema.Literals(["arrive", "arrive", "arrive", "arrive", "end", "end", "interrupt", "resize", "cap"]),
    priority: Schema.Literals(["normal", "normal", "high", "low"]),
    tenant: Schema.Literals(["a", "b", "c", "none"]),
    weight: Schema.Literals([1, 1, 1, 2, 3]),
    which: between(1, 6)
  })

  it.effect.prop(
    "agrees with a model that looks at everybody",
    {
      steps: Schema.Array(Step),
      limit: between(1, 4),
      perTenant: Schema.Literals([2, 3, 100]),
      queue: Schema.Literals([3, 100])
    },
    ({ limit: size, perTenant, queue, steps }) =>
      Effect.gen(function*() {
        const limit = yield* ConcurrencyLimit.make({ limit: size, perTenant, queue, maxWait: "1 day" })
        const { call, log } = makeCalls(limit)
        const model = makeModel({ limit: size, perTenant, queue })
        const fibers = new Map<string, Fiber.Fiber<unknown, unknown>>()
        const stop = Effect.fnUntraced(function*(id: string | undefined) {
          const fiber = id === undefined ? undefined : fibers.get(id)
          if (id === undefined || fiber === undefined) return
          model.leave(id)
          yield* Fiber.interrupt(fiber)
        })
        for (const [index, { kind, priority, tenant: named, weight, which }] of [...steps, ...steps].entries()) {
          switch (kind) {
            case "arrive": {
              const tenant = named === "none" ? undefined : named
              const traits: Traits = tenant === undefined ? { priority, weight } : { priority, weight, tenant }
              model.arrive({ id: `${index}`, priority, tenant, weight })
              fibers.set(`${index}`, yield* call(`${index}`, traits))
              break
            }
            case "end":
              yield* stop(model.oldest())
              break
            case "interrupt":
              yield* stop(model.someone(which))
              break
            case "resize":
              model.change({ limit: which })
              yield* limit.resize(which)
              break
            case "cap":
              model.change({ perTenant: which })
              yield* limit.update({ perTenant: which })
          }
          yield* Testing.settle
          // Those who are told in one step take it up in that order, as none of them has to yield by then.
          assert.deepStrictEqual(log.splice(0), model.lap())
          assert.deepStrictEqual(yield* limit.inspect, model.state())
        }
        yield* Fiber.interruptAll(fibers.values())
        assert.deepStrictEqual(yield* limit.tenants, [])
        assert.strictEqual((yield* limit.inspect).running, 0)
      })
  )
})
