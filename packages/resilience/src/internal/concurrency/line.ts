/**
 * Whose turn it is: the order in which those who wait are served.
 *
 * A higher priority is served first. Within a priority every tenant has a lane of
 * its own, first in first out, and the lanes take turns by virtual time (Demers,
 * Keshav and Shenker, "Analysis and Simulation of a Fair Queueing Algorithm",
 * 1989; start tags as in Goyal, Vin and Cheng, "Start-Time Fair Queuing", 1996):
 * a lane's tag grows by what it gets, the priority's clock by that over the
 * number of lanes that wait, and the least tag is served first. A lane that
 * begins to wait starts at the clock, so being idle saves nothing up.
 *
 * Each operation takes constant time in the number of those who wait and
 * O(log n) in the number of lanes.
 */
import * as Priority from "../../Priority.ts"
import * as Fifo from "../fifo.ts"
import * as Heap from "../heap.ts"

/** Whose lane; undefined is the lane of those who name no tenant. */
export type Tenant = string | undefined

/** What waits extends it. */
export interface Item<Self extends Fifo.Place<Self>> extends Fifo.Place<Self> {
  /** What it takes, at least 1. */
  readonly weight: number
  /** Greater for each later arrival. */
  readonly number: number
  readonly lane: Lane<Self>
}

export interface Lane<W extends Fifo.Place<W>> {
  readonly rank: Rank<W>
  readonly tenant: Tenant
  readonly items: Fifo.Fifo<W>
  /** The virtual time at which its first is due. */
  tag: number
  readyPlace: number
  lengthPlace: number
}

/** The lanes of one priority. */
export interface Rank<W extends Fifo.Place<W>> {
  readonly priority: Priority.Priority
  readonly lanes: Map<Tenant, Lane<W>>
  /** The lanes whose first may be served, the next one first. */
  readonly ready: Heap.Heap<Lane<W>>
  /** The lanes in which somebody waits, the longest first. */
  readonly longest: Heap.Heap<Lane<W>>
  clock: number
  sweepAt: number
}

export interface Line<W extends Fifo.Place<W>> {
  readonly ranks: { readonly [P in Priority.Priority]: Rank<W> }
  /** Whether the first of a lane may be served for all that the line doesn't know, such as a tenant's own limit. */
  readonly mayGo: (tenant: Tenant, weight: number) => boolean
  size: number
}

/** Lanes of a priority that may be kept before the stale ones among them are dropped. */
const fewLanes = 64

const makeRank = <W extends Item<W>>(priority: Priority.Priority): Rank<W> => ({
  priority,
  lanes: new Map(),
  ready: Heap.make<Lane<W>>({
    before: (a, b) => a.tag !== b.tag ? a.tag < b.tag : (a.items.head?.number ?? 0) < (b.items.head?.number ?? 0),
    placeOf: (lane) => lane.readyPlace,
    setPlace: (lane, place) => {
      lane.readyPlace = place
    }
  }),
  longest: Heap.make<Lane<W>>({
    before: (a, b) =>
      a.items.size !== b.items.size
        ? a.items.size > b.items.size
        : (a.items.tail?.number ?? 0) > (b.items.tail?.number ?? 0),
    placeOf: (lane) => lane.lengthPlace,
    setPlace: (lane, place) => {
      lane.lengthPlace = place
    }
  }),
  clock: 0,
  sweepAt: fewLanes
})

export const make = <W extends Item<W>>(mayGo: Line<W>["mayGo"]): Line<W> => ({
  ranks: {
    critical: makeRank("critical"),
    high: makeRank("high"),
    normal: makeRank("normal"),
    low: makeRank("low")
  },
  mayGo,
  size: 0
})

export const laneOf = <W extends Item<W>>(line: Line<W>, priority: Priority.Priority, tenant: Tenant): Lane<W> => {
  const rank = line.ranks[priority]
  const found = rank.lanes.get(tenant)
  if (found !== undefined) return found
  const lane: Lane<W> = { rank, tenant, items: Fifo.make(), tag: 0, readyPlace: -1, lengthPlace: -1 }
  rank.lanes.set(tenant, lane)
  return lane
}

/** Puts a lane among those whose turn may come, or takes it out. */
const settle = <W extends Item<W>>(line: Line<W>, lane: Lane<W>): void => {
  const { rank } = lane
  const { head } = lane.items
  if (head === undefined || !line.mayGo(lane.tenant, head.weight)) return Heap.remove(rank.ready, lane)
  if (lane.readyPlace === -1) lane.tag = Math.max(lane.tag, rank.clock)
  Heap.put(rank.ready, lane)
}

export const append = <W extends Item<W>>(line: Line<W>, item: W): void => {
  const { lane } = item
  Fifo.append(lane.items, item)
  line.size++
  Heap.put(lane.rank.longest, lane)
  if (lane.items.size === 1) settle(line, lane)
}

/** Takes out one who leaves without being served. */
export const remove = <W extends Item<W>>(line: Line<W>, item: W): void => {
  const { lane } = item
  const { rank } = lane
  const wasFirst = lane.items.head === item
  Fifo.remove(lane.items, item)
  line.size--
  if (lane.items.size > 0) {
    Heap.put(rank.longest, lane)
    if (wasFirst) settle(line, lane)
    return
  }
  Heap.remove(rank.longest, lane)
  Heap.remove(rank.ready, lane)
  forget(rank)
}

/** Takes out the one whose turn it is, and counts what it got. */
export const serve = <W extends Item<W>>(line: Line<W>, item: W): void => {
  const { lane } = item
  const { rank } = lane
  rank.clock = Math.max(rank.clock, lane.tag) + item.weight / rank.longest.items.length
  lane.tag += item.weight
  remove(line, item)
}

/** Drops what need not be remembered: everything once nobody waits, and else the lanes that owe nothing. */
const forget = <W extends Item<W>>(rank: Rank<W>): void => {
  if (rank.longest.items.length === 0) {
    rank.clock = 0
    rank.sweepAt = fewLanes
    // A lane of its own is as good as new, and most have only one.
    const lane = rank.lanes.get(undefined)
    if (lane === undefined || rank.lanes.size > 1) rank.lanes.clear()
    else lane.tag = 0
  } else if (rank.lanes.size > rank.sweepAt) {
    for (const [tenant, lane] of rank.lanes) {
      if (lane.items.size === 0 && lane.tag <= rank.clock) rank.lanes.delete(tenant)
    }
    // Not before as many again have come, so that each lane pays for its own sweep.
    rank.sweepAt = Math.max(fewLanes, 2 * rank.lanes.size)
  }
}

/** The one whose turn it is. */
export const next = <W extends Item<W>>(line: Line<W>): W | undefined => {
  for (const priority of Priority.all) {
    const lane = Heap.first(line.ranks[priority].ready)
    if (lane !== undefined) return lane.items.head
  }
  return undefined
}

/** Whether one who arrives now would be the next. */
export const isNext = <W extends Item<W>>(line: Line<W>, priority: Priority.Priority, tenant: Tenant): boolean => {
  if (line.size === 0) return true
  for (const each of Priority.all) {
    const rank = line.ranks[each]
    if (rank.ready.items.length > 0) return false
    if (each === priority) return (rank.lanes.get(tenant)?.items.size ?? 0) === 0
  }
  return true
}

/**
 * Who must give up its place in a full line to one who arrives: the newest of
 * the tenant that waits most in the lowest priority below its own, or in its
 * own, if that tenant still waits no less than the newcomer's then.
 */
export const lesser = <W extends Item<W>>(
  line: Line<W>,
  priority: Priority.Priority,
  tenant: Tenant
): W | undefined => {
  for (const lower of Priority.all.toReversed()) {
    const lane = Heap.first(line.ranks[lower].longest)
    if (lower !== priority) {
      if (lane !== undefined) return lane.items.tail
      continue
    }
    const own = line.ranks[priority].lanes.get(tenant)?.items.size ?? 0
    return lane !== undefined && lane.items.size >= own + 2 ? lane.items.tail : undefined
  }
  return undefined
}

/** Takes in that what a tenant may do has changed. */
export const reconsider = <W extends Item<W>>(line: Line<W>, tenant: Tenant): void => {
  for (const priority of Priority.all) {
    const lane = line.ranks[priority].lanes.get(tenant)
    if (lane !== undefined) settle(line, lane)
  }
}

/** Takes in that what any tenant may do has changed. */
export const reconsiderAll = <W extends Item<W>>(line: Line<W>): void => {
  for (const priority of Priority.all) {
    for (const lane of line.ranks[priority].longest.items) settle(line, lane)
  }
}

/** How many of each tenant wait. */
export const waiting = <W extends Item<W>>(line: Line<W>): Map<Tenant, number> => {
  const counts = new Map<Tenant, number>()
  for (const priority of Priority.all) {
    for (const lane of line.ranks[priority].longest.items) {
      counts.set(lane.tenant, (counts.get(lane.tenant) ?? 0) + lane.items.size)
    }
  }
  return counts
}
