import * as Fifo from "./fifo.ts"

/** What arrived within a moment. */
interface Arrival extends Fifo.Place<Arrival> {
  readonly from: number
  at: number
  weight: number
}

/** Arrivals closer to each other than this part of the window count as one. */
const resolution = 1_000

/**
 * Follows the flow of a stream against a least weight in any window. Its time is
 * the time that was waited for the stream, so the consumer's does not count.
 *
 * Of the past it keeps the shortest stretch that holds the least weight: the
 * oldest arrival in it is the one without which there would be too little, so
 * the flow is too slow as soon as that one leaves the window.
 */
export const make = (least: number, window: number) => {
  const arrivals = Fifo.make<Arrival>()
  let begun = false
  let elapsed = 0
  let total = 0

  const put = (weight: number) => {
    total += weight
    const last = arrivals.tail
    if (last !== undefined && elapsed - last.from < window / resolution) {
      last.at = elapsed
      last.weight += weight
    } else {
      Fifo.append(arrivals, { from: elapsed, at: elapsed, weight, previous: undefined, next: undefined })
    }
  }

  return {
    /**
     * Notes what came after a wait; what weighs nothing adds nothing. The first
     * progress starts the first window, which is judged when it is full.
     */
    arrive: (waited: number, weight: number, progress: boolean) => {
      if (begun) elapsed += waited
      else if (!progress) return
      else put(least)
      begun = true
      // More than the least of a window is no more than enough for it; of infinity nothing could be taken away.
      if (weight > 0) put(Math.min(weight, least))
      for (let { head } = arrivals; head !== undefined && total - head.weight >= least; head = arrivals.head) {
        total -= head.weight
        Fifo.remove(arrivals, head)
      }
    },
    /** How long may be waited for nothing from now on. */
    left: (): number => arrivals.head === undefined ? Infinity : Math.max(0, arrivals.head.at + window - elapsed)
  }
}
