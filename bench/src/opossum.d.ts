/** What the bench uses of a package that has no types of its own. */
declare module "opossum" {
  export interface Options {
    readonly timeout: number | false
    readonly errorThresholdPercentage: number
    readonly resetTimeout: number
    readonly volumeThreshold: number
  }

  export default class CircuitBreaker<Args extends ReadonlyArray<unknown>, A> {
    static isOurError(error: unknown): boolean
    constructor(action: (...args: Args) => Promise<A>, options: Options)
    fire(...args: Args): Promise<A>
    open(): void
  }
}
