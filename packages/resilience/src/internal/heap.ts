/** How a heap orders its items and where an item keeps its place; -1 says that it is in none. */
export interface Order<T> {
  readonly before: (a: T, b: T) => boolean
  readonly placeOf: (item: T) => number
  readonly setPlace: (item: T, place: number) => void
}

/** A binary heap that adds, moves and removes in O(log n) and shows its first item in O(1). */
export interface Heap<T> {
  readonly items: Array<T>
  readonly order: Order<T>
}

export const make = <T>(order: Order<T>): Heap<T> => ({ items: [], order })

export const first = <T>(heap: Heap<T>): T | undefined => heap.items[0]

/** Puts an item in, or moves it to where it belongs now that it has changed. */
export const put = <T>(heap: Heap<T>, item: T): void => {
  const place = heap.order.placeOf(item)
  const from = place === -1 ? heap.items.length : place
  if (rise(heap, item, from) === from) sink(heap, item, from)
}

/** Takes an item out, if it is in. */
export const remove = <T>(heap: Heap<T>, item: T): void => {
  const { placeOf, setPlace } = heap.order
  const place = placeOf(item)
  if (place === -1) return
  setPlace(item, -1)
  const last = heap.items.pop()
  if (last === undefined || last === item) return
  setPlace(last, place)
  put(heap, last)
}

const set = <T>(heap: Heap<T>, item: T, place: number): void => {
  heap.items[place] = item
  heap.order.setPlace(item, place)
}

const rise = <T>(heap: Heap<T>, item: T, from: number): number => {
  let at = from
  while (at > 0) {
    const up = (at - 1) >> 1
    const parent = heap.items[up]
    if (parent === undefined || !heap.order.before(item, parent)) break
    set(heap, parent, at)
    at = up
  }
  set(heap, item, at)
  return at
}

const sink = <T>(heap: Heap<T>, item: T, from: number): void => {
  const { before, placeOf } = heap.order
  let at = from
  for (;;) {
    const left = heap.items[2 * at + 1]
    if (left === undefined) break
    const right = heap.items[2 * at + 2]
    const child = right !== undefined && before(right, left) ? right : left
    if (!before(child, item)) break
    const down = placeOf(child)
    set(heap, child, at)
    at = down
  }
  set(heap, item, at)
}
