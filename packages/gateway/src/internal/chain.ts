class Link<A> {
  value: A | undefined
  before: Link<A> = this
  after: Link<A> = this

  constructor(value?: A) {
    this.value = value
  }

  /** Puts it before another. */
  join(after: Link<A>): void {
    this.before = after.before
    this.after = after
    this.before.after = after.before = this
  }

  /** It may be among old objects by now, and must keep nothing. */
  leave(): void {
    this.before.after = this.after
    this.after.before = this.before
    this.before = this.after = this
    this.value = undefined
  }
}

/**
 * What comes and goes all the time, in the order in which it came. A `Set` makes itself a new table now and then; V8 keeps the one before among
 * its old objects, with all that was in it at the time, until the next full collection.
 */
export class Chain<A extends object> {
  private readonly end = new Link<A>()
  size = 0

  /** Gives what takes it out again. */
  add(value: A): () => void {
    const link = new Link(value)
    link.join(this.end)
    this.size++
    return () => {
      if (link.value === undefined) return
      link.leave()
      this.size--
    }
  }

  all(): Array<A> {
    const values: Array<A> = []
    for (let link = this.end.after; link.value !== undefined; link = link.after) values.push(link.value)
    return values
  }
}
