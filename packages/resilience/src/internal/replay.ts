/** The items of one running stream for many readers, each of which begins with the first item. */
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Pull from "effect/Pull"

/** Where a reader is, counted in items from the start, and how to wake it. */
export interface Reader {
  at: number
  wake: (() => void) | undefined
}

/**
 * A writer appends items and waits when the slowest reader is `bound` items
 * behind. Until more than `bound` items have come, all of them are kept and
 * readers may join; after that only what some reader has still to read.
 */
export interface Replay<A, E> {
  readonly bound: number
  readonly readers: Set<Reader>
  readonly items: Array<A>
  /** How many items came before the first one in `items`. */
  dropped: number
  end: Exit.Exit<void, E> | undefined
  wakeWriter: (() => void) | undefined
}

export const make = <A, E>(bound: number): Replay<A, E> => ({
  bound,
  readers: new Set(),
  items: [],
  dropped: 0,
  end: undefined,
  wakeWriter: undefined
})

const total = <A, E>(self: Replay<A, E>) => self.dropped + self.items.length

export const isJoinable = <A, E>(self: Replay<A, E>): boolean => total(self) <= self.bound

export const join = <A, E>(self: Replay<A, E>): Reader => {
  const reader: Reader = { at: 0, wake: undefined }
  self.readers.add(reader)
  return reader
}

export const leave = <A, E>(self: Replay<A, E>, reader: Reader): void => {
  self.readers.delete(reader)
  trim(self)
}

/** Drops what all readers have read, and lets the writer go on if there is room. */
const trim = <A, E>(self: Replay<A, E>): void => {
  let slowest = total(self)
  for (const reader of self.readers) slowest = Math.min(slowest, reader.at)
  if (total(self) - slowest < self.bound) {
    const wake = self.wakeWriter
    self.wakeWriter = undefined
    wake?.()
  }
  if (!isJoinable(self) && slowest > self.dropped) {
    self.items.splice(0, slowest - self.dropped)
    self.dropped = slowest
  }
}

const wakeReaders = <A, E>(self: Replay<A, E>): void => {
  for (const reader of self.readers) {
    const { wake } = reader
    // Before it wakes, because it may wait again before this returns.
    reader.wake = undefined
    wake?.()
  }
}

/** Appends at once; the effect waits until there is room for more. */
export const write = <A, E>(self: Replay<A, E>, items: ReadonlyArray<A>): Effect.Effect<void> => {
  for (const item of items) self.items.push(item)
  wakeReaders(self)
  return room(self)
}

const room = <A, E>(self: Replay<A, E>): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    self.wakeWriter = () => resume(Effect.void)
    trim(self)
  })

export const end = <A, E>(self: Replay<A, E>, exit: Exit.Exit<void, E>): void => {
  self.end = exit
  wakeReaders(self)
}

export const read = <A, E>(self: Replay<A, E>, reader: Reader): Pull.Pull<Arr.NonEmptyReadonlyArray<A>, E> =>
  Effect.suspend(() => {
    const items = self.items.slice(reader.at - self.dropped)
    if (isNonEmpty(items)) {
      reader.at = total(self)
      trim(self)
      return Effect.succeed(items)
    }
    if (self.end !== undefined) {
      return self.end._tag === "Success" ? Cause.done() : Effect.failCause(self.end.cause)
    }
    return Effect.callback<Arr.NonEmptyReadonlyArray<A>, E | Cause.Done>((resume) => {
      const wake = () => resume(read(self, reader))
      // The fiber may have yielded since it looked, and nobody wakes a reader that doesn't wait yet.
      if (reader.at < total(self) || self.end !== undefined) wake()
      else reader.wake = wake
    })
  })

const isNonEmpty = <A>(items: ReadonlyArray<A>): items is Arr.NonEmptyReadonlyArray<A> => items.length > 0
