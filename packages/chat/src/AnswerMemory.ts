/**
 * One budget of bytes for all large answers that a process reads or keeps, whatever their source.
 *
 * An answer that is no larger than `limits.freeAnswer` is not counted. Once the budget is used up, the reader of a whole answer waits
 * before it reads on, which pauses its connection. The reader that has waited longest goes on all the same, as long as the answers that
 * were read and are still kept leave room, so one answer at a time comes to its end. A wait ends with its reader: by the call's deadline,
 * or by an interruption. A stream does not wait in the middle of an event.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import { getHeapStatistics } from "node:v8"
import { limits } from "./Limits.ts"

/**
 * A budget for answers.
 *
 * @category models
 * @since 0.1.0
 */
export interface AnswerMemory {
  /** Begins to count an answer that is read, until the scope closes. */
  readonly hold: (scope: Scope.Scope) => Effect.Effect<Hold>
  /** Counts bytes of an answer that is kept after it was read, as for a client that has not taken it yet; until the scope closes. */
  readonly keep: (scope: Scope.Scope, bytes: number) => Effect.Effect<void>
  /** Reads the state; changes nothing. */
  readonly inspect: Effect.Effect<State>
}

/**
 * The state of a budget, in bytes.
 *
 * @category models
 * @since 0.1.0
 */
export interface State {
  readonly capacity: number
  readonly reading: number
  readonly kept: number
}

/**
 * What the reader of one answer holds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Hold {
  /** Says how many bytes are held now. Returns whether there is room for more. */
  readonly set: (bytes: number) => boolean
  /** Waits until more may be read. */
  readonly turn: Effect.Effect<void>
}

class Memory implements AnswerMemory {
  readonly capacity: number
  reading = 0
  kept = 0
  /** Those that had to wait, the first one first. */
  readonly line = new Set<Holding>()

  constructor(capacity: number) {
    this.capacity = capacity
  }

  hold(scope: Scope.Scope): Effect.Effect<Hold> {
    return Effect.suspend(() => {
      const hold = new Holding(this)
      return Effect.as(Scope.addFinalizer(scope, hold.release), hold)
    })
  }

  keep(scope: Scope.Scope, bytes: number): Effect.Effect<void> {
    const release = Effect.sync(() => {
      this.kept -= bytes
      this.wake()
    })
    return Effect.uninterruptible(Effect.suspend(() => {
      this.kept += bytes
      return Scope.addFinalizer(scope, release)
    }))
  }

  readonly inspect: Effect.Effect<State> = Effect.sync(() => ({
    capacity: this.capacity,
    reading: this.reading,
    kept: this.kept
  }))

  get hasRoom(): boolean {
    return this.reading + this.kept <= this.capacity
  }

  mayGoOn(hold: Holding): boolean {
    return this.hasRoom || (this.kept <= this.capacity && this.line.values().next().value === hold)
  }

  wake(): void {
    for (const hold of this.line) {
      if (!this.mayGoOn(hold)) return
      hold.wake?.()
    }
  }
}

class Holding implements Hold {
  readonly memory: Memory
  bytes = 0
  wake: (() => void) | undefined

  constructor(memory: Memory) {
    this.memory = memory
  }

  set(bytes: number): boolean {
    const { memory } = this
    const before = this.bytes
    this.bytes = bytes > limits.freeAnswer ? bytes : 0
    memory.reading += this.bytes - before
    if (this.bytes < before) memory.wake()
    return this.bytes === 0 || memory.hasRoom
  }

  readonly turn: Effect.Effect<void> = Effect.callback((resume) => {
    this.memory.line.add(this)
    if (this.memory.mayGoOn(this)) return resume(Effect.void)
    this.wake = () => {
      this.wake = undefined
      resume(Effect.void)
    }
    return Effect.sync(() => this.wake = undefined)
  })

  readonly release: Effect.Effect<void> = Effect.sync(() => {
    this.memory.line.delete(this)
    this.set(0)
  })
}

/**
 * Makes a budget of so many bytes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (capacity: number): AnswerMemory => new Memory(capacity)

/**
 * The budget of the answers that this fiber reads. Default: one for the whole process, of a 16th of the heap limit.
 *
 * @category references
 * @since 0.1.0
 */
export const Current: Context.Reference<AnswerMemory> = Context.Reference("@ballast/chat/AnswerMemory", {
  defaultValue: () => make(getHeapStatistics().heap_size_limit * limits.answerMemory)
})
