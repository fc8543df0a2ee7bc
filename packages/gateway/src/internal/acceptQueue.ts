import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Net from "node:net"

/**
 * Connections that may wait to be accepted, as far as the system lets them: Linux 4,096. Past Node's own 511 the connections of a burst, such as
 * clients that all come back at once, are reset.
 */
export const backlog = 4096

/** How long no connection must have come before the listening socket is closed. */
const quietMillis = 250

/** How long the server accepts at most while it waits for that. Balancers have seen by then that it is unready. */
const acceptMillis = 5_000

/** The same for a server that holds what comes. */
const heldMillis = 100

/** How often it waits at most for a turn of the event loop that accepts nothing. */
const maxTurns = 1_000

const pollInterval = "20 millis"

/**
 * Watches the connections that a server accepts, and finds a moment when none waits in the kernel's queue: closing the listening socket
 * would reset those. Such a moment comes once no connection was accepted for a quarter of a second, within 5 seconds or half of `timeout`.
 * Where clients come again and again it does not: then `hold` is called, after which what comes must not be answered, so that clients that
 * wait for their answers send no more. Whoever waits for `empty` closes the socket in the same turn.
 */
export const make = (server: Net.Server) => {
  let accepted = 0
  server.on("connection", () => void accepted++)

  /** Waits until no connection has come for so long; `false` when that did not happen in time. */
  const quiet = Effect.fnUntraced(function*(millis: number, patience: number) {
    const limit = (yield* Clock.currentTimeMillis) + patience
    let seen = accepted
    let now = limit - patience
    let since = now
    while (now < limit && now - since < millis) {
      yield* Effect.sleep(pollInterval)
      // Timers come before the queue in a turn. One that is late must not take a queue that was not looked at for a quiet one.
      yield* Effect.yieldNow
      now = yield* Clock.currentTimeMillis
      if (accepted !== seen) since = now
      seen = accepted
    }
    return now - since >= millis
  })

  /** The queue gives up one connection in each turn of the event loop. */
  const turnWithout = Effect.gen(function*() {
    for (let turn = 0; turn < maxTurns; turn++) {
      const seen = accepted
      yield* Effect.yieldNow
      if (accepted === seen) return
    }
  })

  return {
    empty: Effect.fnUntraced(function*(timeout: number, hold: () => void) {
      if (!(yield* quiet(quietMillis, Math.min(acceptMillis, timeout / 2)))) {
        hold()
        yield* quiet(heldMillis, Math.min(acceptMillis, timeout) / 4)
      }
      yield* turnWithout
    })
  }
}
