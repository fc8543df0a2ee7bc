/**
 * The processes of one gateway: a primary that listens, and workers that serve, so that a gateway uses more than one core.
 *
 * The primary accepts connections and hands each to the next worker that is ready; with `node:cluster` starting the processes, but not
 * listening for them: what a worker had not begun with when it died, or what waits in the kernel's queue when the gateway stops, would be
 * lost there. A connection is the primary's until a worker says that it has it, so that of a worker that is killed another takes over what it
 * had not taken.
 *
 * A worker that ends is replaced: at once the first time, then after 1 second, doubled up to 30, until one has been ready for a minute. The
 * new one takes over what operators have set, from another worker. One that ends before all were ready for the first time ends the gateway.
 *
 * To stop, the primary closes the port at a moment when no connection waits there, sees every connection taken, and lets the workers end their
 * requests. One that has not ended in time is killed.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { ServeError } from "effect/http/HttpServerError"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import cluster, { type Worker as Process } from "node:cluster"
import * as Net from "node:net"
import type * as AdminApi from "./AdminApi.ts"
import * as acceptQueue from "./internal/acceptQueue.ts"
import * as mergedAdmin from "./internal/mergedAdmin.ts"
import * as mergedMetrics from "./internal/mergedMetrics.ts"
import * as messages from "./internal/workerMessages.ts"
import { StartError } from "./StartError.ts"
import { variable } from "./Worker.ts"

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** How many workers, at least 1. */
  readonly count: number
  readonly host: string
  readonly port: number
  /** How long requests may run on when the gateway stops. */
  readonly shutdownTimeout: Duration.Duration
  /** Variables of the workers beside those of this process. Default: none. */
  readonly env?: Readonly<Record<string, string>> | undefined
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Workers {
  readonly address: NetAddress.SocketAddress
  /** Ends when all workers are ready for the first time; fails when one can't start. */
  readonly started: Effect.Effect<void, StartError>
  /** Lets all workers read the settings again. */
  readonly reload: Effect.Effect<void>
}

/** A place for a worker, whose process is replaced when it ends. */
interface Slot {
  readonly number: number
  since: number
  restarts: number
  member: Member | undefined
}

interface Member {
  readonly slot: Slot
  readonly process: Process
  readonly asking: ReturnType<typeof messages.makeAsking>
  /** Handed over, and not taken yet. */
  readonly handed: Map<number, Net.Socket>
  ready: boolean
}

/** How long a worker may take to answer a question. */
const patience = "5 seconds"

/** Connections that may wait for a worker while none is ready. */
const maxWaiting = 1_024

/** A worker that was ready for so long is not taken for one that can't run. */
const soundMillis = 60_000

/** What a worker may take beyond the time for its requests, to write its last lines. */
const lastLinesMillis = 3_000

const restartWait = (deaths: number): number => deaths <= 1 ? 0 : Math.min(30_000, 1_000 * 2 ** (deaths - 2))

const listen = (server: Net.Server, { host, port }: Options) =>
  Effect.callback<NetAddress.SocketAddress, ServeError>((resume) => {
    const onError = (cause: Error) => resume(Effect.fail(new ServeError({ cause })))
    server.once("error", onError)
    server.listen({ host, port, backlog: acceptQueue.backlog }, () => {
      server.off("error", onError)
      const address = server.address()
      resume(
        address === null || typeof address === "string"
          ? Effect.die(new Error("the server has no address"))
          : Effect.orDie(Effect.fromResult(NetAddress.inetAddressFromIpString(address.address, address.port)))
      )
    })
  })

/**
 * Starts the workers: this program again, with the same arguments. They run until the scope closes, which stops them without losing a request.
 *
 * **Details**
 *
 * Fails with `ServeError` when it can not listen.
 *
 * @category constructors
 * @since 0.1.0
 */
export const serve = Effect.fnUntraced(function*(
  options: Options
): Effect.fn.Return<Workers, ServeError, Scope.Scope> {
  const { count } = options
  const run = Effect.runForkWith(yield* Effect.context<never>())
  const began = yield* Clock.currentTimeMillis
  const slots = Array.from({ length: count }, (_, index): Slot => ({
    number: index + 1,
    since: began,
    restarts: 0,
    member: undefined
  }))
  const started = yield* Deferred.make<void, StartError>()
  const metrics = { prometheus: mergedMetrics.make(), openMetrics: mergedMetrics.make() }
  /** Acts are carried out one after the other, and not while a new worker takes over the earlier ones. */
  const acting = Semaphore.makeUnsafe(1)
  let acts = 0
  let everReady = false
  let stoppingSince: number | null = null

  const members = (): ReadonlyArray<Member> => slots.flatMap(({ member }) => member === undefined ? [] : [member])
  const ready = () => members().filter((member) => member.ready)
  const send = ({ process }: Member, message: messages.Message): void => {
    if (process.isConnected()) process.send(message)
  }
  const tellState = (): void => {
    const state: messages.State = { ready: ready().length, of: count, stoppingSince }
    for (const member of members()) send(member, { is: "state", state })
  }

  // Connections

  const waiting: Array<Net.Socket> = []
  let holding = false
  let turn = 0
  let handed = 0

  const hand = (socket: Net.Socket): void => {
    const able = ready()
    const member = able[turn++ % able.length]
    if (member === undefined || holding) {
      if (waiting.length < maxWaiting) waiting.push(socket)
      else socket.destroy()
      return
    }
    const id = ++handed
    member.handed.set(id, socket)
    // An error is the end of the process, which has its connections handed to others.
    member.process.send({ is: "connection", id } satisfies messages.Message, socket, { keepOpen: true }, () => {})
  }
  const handWaiting = (): void => waiting.splice(0).forEach(hand)

  /** Closes the primary's copy, which leaves the connection to the worker. */
  const taken = (member: Member, id: number): void => {
    member.handed.get(id)?.destroy()
    member.handed.delete(id)
  }

  // Questions

  const ask = (member: Member, what: messages.Question, input: unknown) => member.asking.ask(what, input, patience)

  const gather = (what: messages.Question, inputOf: (index: number) => unknown = () => null) =>
    Effect.forEach(
      ready(),
      (member, index) => Effect.map(Effect.result(ask(member, what, inputOf(index))), (result) => ({ member, result })),
      { concurrency: "unbounded" }
    )

  /** What a worker tells has the form of the question, since it is of the same program. */
  const told = <A>(answers: Effect.Success<ReturnType<typeof gather>>): ReadonlyArray<A> =>
    answers.flatMap(({ result }) => Result.isSuccess(result) ? [result.success as A] : [])

  type Status = typeof AdminApi.Status.Encoded

  const status = Effect.gen(function*() {
    const answers = yield* gather("status")
    const [first] = told<Status>(answers)
    if (first === undefined) return yield* Effect.fail(messages.silent)
    const revisions = new Map(
      answers.map(({ member, result }) => [
        member,
        Result.isSuccess(result) ? (result.success as Status).settings.revision : undefined // as above
      ])
    )
    return {
      ...first,
      actsInForce: Math.max(...told<Status>(answers).map(({ actsInForce }) => actsInForce)),
      workers: slots.map(({ member, number, restarts, since }): Status["workers"][number] => ({
        worker: number,
        pid: member?.process.process.pid ?? null,
        state: member?.ready !== true ? "starting" : revisions.get(member) === undefined ? "silent" : "ready",
        since,
        restarts,
        revision: (member && revisions.get(member)) ?? null
      }))
    } satisfies Status
  })

  /** Carries an act out in all workers. What one of them does not take is not taken by any, but for one that is late. */
  const change = Effect.fnUntraced(function*(what: "act" | "undo", input: object) {
    const answers = yield* gather(what, () => what === "act" ? { ...input, id: String(acts + 1) } : input)
    const done = mergedAdmin.done(told<typeof AdminApi.Done.Encoded>(answers))
    for (const { member: { slot }, result } of answers) {
      if (Result.isSuccess(result)) continue
      if (done === undefined) return yield* Effect.fail(result.failure)
      yield* Effect.logWarning("a worker did not take an admin act", {
        worker: slot.number,
        reason: result.failure.message
      })
    }
    if (done === undefined) return yield* Effect.fail(messages.silent)
    if (what === "act") acts++
    return done
  }, acting.withPermit)

  const answerTo = (what: messages.Question, input: unknown): Effect.Effect<unknown, messages.Failure> => {
    switch (what) {
      case "metrics": {
        const page = input === "openMetrics" ? input : "prometheus"
        return Effect.map(
          gather(what, () => page),
          (answers) =>
            metrics[page].merge(
              answers.flatMap(({ member: { slot }, result }) =>
                Result.isSuccess(result) ? [{ worker: slot.number, text: String(result.success) }] : []
              )
            )
        )
      }
      case "status":
        return status
      case "routes":
        return Effect.map(gather(what), (answers) => mergedAdmin.routes(told(answers)))
      case "accounts":
        return Effect.map(gather(what, (index) => index === 0), (answers) => mergedAdmin.accounts(told(answers)))
      case "acts":
        return Effect.map(gather(what), (answers) => mergedAdmin.acts(told(answers)))
      case "explainCache":
        return Effect.flatMap(gather(what, () => input), (answers) => {
          const failure = answers.flatMap(({ result }) => Result.isFailure(result) ? [result.failure] : [])[0]
          const explanations = told<typeof AdminApi.CacheExplanation.Encoded>(answers)
          return explanations.length === 0
            ? Effect.fail(failure ?? messages.silent)
            : Effect.succeed(mergedAdmin.explanations(explanations, Number(Object(input).limit ?? 10)))
        })
      case "act":
      case "undo":
        return change(what, Object(input))
      case "restore":
        return Effect.fail({ code: "failed", message: "no worker is restored by another" })
    }
  }

  const answer = (member: Member, { id, input, what }: Extract<messages.Message, { readonly is: "question" }>) =>
    run(Effect.match(answerTo(what, input), {
      onSuccess: (value) => send(member, { is: "answer", id, value }),
      onFailure: (failure) => send(member, { is: "answer", id, failure })
    }))

  // Processes

  /** Lets a worker that has started take part, once it has what operators have set. */
  const welcome = (member: Member) =>
    acting.withPermit(Effect.gen(function*() {
      const [donor] = ready()
      if (donor !== undefined) {
        yield* ask(donor, "acts", null).pipe(
          Effect.flatMap((acts) => ask(member, "restore", acts)),
          Effect.catch(({ message }) =>
            Effect.logWarning("a worker did not take over the acts", { worker: member.slot.number, reason: message })
          )
        )
      }
      member.ready = true
      member.slot.since = yield* Clock.currentTimeMillis
      tellState()
      if (ready().length === count && !everReady) {
        everReady = true
        yield* Deferred.succeed(started, undefined)
      }
      handWaiting()
    }))

  const onMessage = (member: Member, message: unknown): void => {
    if (!messages.isMessage(message)) return
    switch (message.is) {
      case "taken":
        return taken(member, message.id)
      case "ready":
        return void run(welcome(member))
      case "question":
        return void answer(member, message)
      case "answer":
        return member.asking.take(message)
    }
  }

  const start = (slot: Slot): Member => {
    const process = cluster.fork({ ...options.env, [variable]: `${slot.number}/${count}` })
    const member: Member = {
      slot,
      process,
      asking: messages.makeAsking((message) => send(member, message)),
      handed: new Map(),
      ready: false
    }
    process.on("message", (message) => onMessage(member, message))
    process.on("error", () => {})
    return member
  }

  /** How a process ended. Its channel may have messages after its end, so that is waited for, too. */
  const ended = ({ process }: Member) =>
    Effect.callback<{ readonly code: number | null; readonly signal: string | null }>((resume) => {
      let exit: { readonly code: number | null; readonly signal: string | null } | undefined
      const look = () => {
        if (exit !== undefined && !process.isConnected()) resume(Effect.succeed(exit))
      }
      process.once("exit", (code, signal) => {
        exit = { code, signal }
        look()
      })
      process.once("disconnect", look)
    })

  const leave = (member: Member): void => {
    member.ready = false
    member.slot.member = undefined
    for (const pages of Object.values(metrics)) pages.remove(member.slot.number)
    const left = [...member.handed.values()]
    member.handed.clear()
    left.forEach(hand)
    tellState()
  }

  const keep = Effect.fnUntraced(function*(slot: Slot) {
    let deaths = 0
    while (stoppingSince === null) {
      const member = start(slot)
      slot.member = member
      slot.since = yield* Clock.currentTimeMillis
      const { code, signal } = yield* ended(member)
      const lived = member.ready ? (yield* Clock.currentTimeMillis) - slot.since : 0
      leave(member)
      if (stoppingSince !== null) return
      const how = signal === null ? `code ${code}` : signal
      if (!everReady) {
        yield* Deferred.fail(
          started,
          new StartError({ detail: `Worker ${slot.number} ended while it started (${how}).` })
        )
        return
      }
      deaths = lived > soundMillis ? 1 : deaths + 1
      slot.restarts++
      const wait = restartWait(deaths)
      yield* Effect.logError("a worker ended, and is replaced", { worker: slot.number, how, wait: `${wait} ms` })
      yield* Effect.sleep(wait)
    }
  })

  // The end

  const stop = (server: Net.Server, queue: ReturnType<typeof acceptQueue.make>) =>
    Effect.gen(function*() {
      const timeout = Duration.toMillis(options.shutdownTimeout)
      stoppingSince = yield* Clock.currentTimeMillis
      tellState()
      if (everReady) yield* queue.empty(timeout, () => holding = true)
      server.close()
      holding = false
      handWaiting()
      const isHanding = () => waiting.length > 0 || members().some(({ handed }) => handed.size > 0)
      yield* Effect.sleep("10 millis").pipe(
        Effect.repeat({ while: () => members().length > 0 && isHanding() }),
        Effect.timeoutOption(Math.max(timeout, 1_000))
      )
      for (const member of members()) send(member, { is: "stop" })
      yield* Effect.sleep("20 millis").pipe(
        Effect.repeat({ while: () => members().length > 0 }),
        Effect.timeoutOption(timeout + lastLinesMillis)
      )
      for (const { process, slot } of members()) {
        yield* Effect.logWarning("a worker did not end in time, and is killed", { worker: slot.number })
        process.process.kill("SIGKILL")
      }
      for (const socket of waiting) socket.destroy()
    })

  const server = Net.createServer({ pauseOnConnect: true, allowHalfOpen: true, noDelay: true })
  const queue = acceptQueue.make(server)
  server.on("connection", (socket) => {
    socket.on("error", () => {})
    hand(socket)
  })
  const address = yield* listen(server, options)
  cluster.setupPrimary({ serialization: "json" })
  // Where the primary ends at once, at a second signal, the workers must not stay.
  const killAll = () => members().forEach(({ process }) => process.process.kill("SIGKILL"))
  yield* Effect.acquireRelease(
    Effect.sync(() => process.on("exit", killAll)),
    () => Effect.sync(() => process.off("exit", killAll))
  )
  const kept = yield* Effect.forEach(slots, (slot) => Effect.forkDetach(keep(slot), { startImmediately: true }))
  yield* Effect.addFinalizer(() =>
    Effect.andThen(stop(server, queue), Effect.forEach(kept, (fiber) => Effect.sync(() => fiber.interruptUnsafe())))
  )
  return {
    address,
    started: Deferred.await(started),
    reload: Effect.sync(() => members().forEach((member) => send(member, { is: "reload" })))
  }
})
