interface Node<M> {
  readonly next: Map<string, Node<M>>
  metric: M | undefined
}

const node = <M>(): Node<M> => ({ next: new Map(), metric: undefined })

/**
 * Keeps one metric for each set of labels. A metric that several sets share would look its series up at every change of labels. The values of labels
 * must be few, since none is forgotten.
 */
export const byLabels = <V extends ReadonlyArray<string>, M>(make: (...values: V) => M): (...values: V) => M => {
  const root = node<M>()
  return (...values) => {
    let at = root
    for (const value of values) {
      let next = at.next.get(value)
      if (next === undefined) at.next.set(value, next = node())
      at = next
    }
    return at.metric ??= make(...values)
  }
}
