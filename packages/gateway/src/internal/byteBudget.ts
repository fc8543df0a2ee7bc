import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"

/** How long a request waits for bytes. */
const maxWait = Duration.seconds(1)

interface Waiter {
  readonly bytes: number
  readonly hold: Hold
  readonly resume: () => void
}

/** Bytes that may be held at once, and the holds that wait for some. */
export class ByteBudget {
  readonly capacity: number
  used = 0
  readonly waiters = new Set<Waiter>()

  constructor(capacity: number) {
    this.capacity = capacity
  }
}

/** The bytes that one request holds. `releaseAll` gives them back, and any that come later, so it may be called at any time. */
export class Hold {
  readonly budget: ByteBudget
  bytes = 0
  ended = false

  constructor(budget: ByteBudget) {
    this.budget = budget
  }

  /** Takes bytes when there are enough. Holds that wait for more than there is don't stop one that needs less. */
  take(bytes: number): boolean {
    const { budget } = this
    if (this.ended) return true
    if (budget.used + bytes > budget.capacity) return false
    budget.used += bytes
    this.bytes += bytes
    return true
  }

  /** Takes bytes as soon as there are enough, within a second; whether it did. */
  wait(bytes: number): Effect.Effect<boolean> {
    const { waiters } = this.budget
    return Effect.callback<boolean>((resume) => {
      if (this.take(bytes)) return resume(Effect.succeed(true))
      const waiter: Waiter = { bytes, hold: this, resume: () => resume(Effect.succeed(true)) }
      waiters.add(waiter)
      return Effect.sync(() => waiters.delete(waiter))
    }).pipe(Effect.timeoutOrElse({ duration: maxWait, orElse: () => Effect.succeed(false) }))
  }

  releaseAll(): void {
    this.ended = true
    this.release(this.bytes)
  }

  /** Gives bytes back, as far as it has them. */
  release(bytes: number): void {
    const { budget } = this
    const released = Math.min(bytes, this.bytes)
    budget.used -= released
    this.bytes -= released
    for (const waiter of budget.waiters) {
      if (!waiter.hold.take(waiter.bytes)) return
      budget.waiters.delete(waiter)
      waiter.resume()
    }
  }
}
