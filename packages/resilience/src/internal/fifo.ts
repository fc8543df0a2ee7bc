/** A place in a `Fifo`; what waits extends it. */
export interface Place<Self> {
  previous: Self | undefined
  next: Self | undefined
}

/** A first-in-first-out list that adds, takes and removes in constant time. */
export interface Fifo<Self extends Place<Self>> {
  head: Self | undefined
  tail: Self | undefined
  size: number
}

export const make = <Self extends Place<Self>>(): Fifo<Self> => ({ head: undefined, tail: undefined, size: 0 })

export const append = <Self extends Place<Self>>(fifo: Fifo<Self>, place: Self): void => {
  place.previous = fifo.tail
  if (fifo.tail === undefined) fifo.head = place
  else fifo.tail.next = place
  fifo.tail = place
  fifo.size++
}

export const remove = <Self extends Place<Self>>(fifo: Fifo<Self>, place: Self): void => {
  if (place.previous === undefined) fifo.head = place.next
  else place.previous.next = place.next
  if (place.next === undefined) fifo.tail = place.previous
  else place.next.previous = place.previous
  place.previous = undefined
  place.next = undefined
  fifo.size--
}
