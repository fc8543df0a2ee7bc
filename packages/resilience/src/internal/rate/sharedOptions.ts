import * as Duration from "effect/Duration"
import * as check from "../check.ts"
import * as Options from "./options.ts"
import type { Spec } from "./spec.ts"

/**
 * Settings of a shared rate limiter that can change while calls run and wait.
 *
 * @category options
 * @since 0.1.0
 */
export interface SharedSettings extends Options.Settings {
  /**
   * Calls of a key that may wait in this process, zero or more; `Infinity` for no bound. Default 1,000. While the store
   * is asked, and nobody knows who has to wait, it bounds those in line behind the calls that are asked for; as many of
   * them as the limit lets start at once, by weight, may be in line in any case.
   */
  readonly maxQueue?: number | undefined
  /**
   * What becomes of a call on which the store fails to decide: it runs, or it
   * fails with the store's error. Default `"allow"`.
   */
  readonly onStoreError?: "allow" | "fail" | undefined
  /** How long the store may take to answer, above zero. Default 1 second. */
  readonly storeTimeout?: Duration.Input | undefined
}

/**
 * How weight is leased: taken from the store in batches, of which calls then
 * take without asking it.
 *
 * @category options
 * @since 0.1.0
 */
export interface Lease {
  /** Weight that this process holds unused at most, an integer of at least 1. */
  readonly size: number
  /** How long leased weight may be used, above zero and no longer than `window`. Default `window`. */
  readonly duration?: Duration.Input | undefined
}

/**
 * Options of a shared rate limiter.
 *
 * @category options
 * @since 0.1.0
 */
export interface SharedOptions extends SharedSettings, Options.Options {
  /**
   * Name in errors, metrics and span events; keep it of low cardinality. Limiters of one name on one store share the
   * limit of a key, those of different names don't. Default `"default"`.
   */
  readonly name?: string | undefined
  readonly limit: number
  readonly window: Duration.Input
  /** Leases weight, which is faster and less exact. Not with `leaky-bucket`. Default: asks the store for each call. */
  readonly lease?: Lease | undefined
}

const defaults = {
  onStoreError: "allow",
  storeTimeout: "1 second"
} satisfies Partial<SharedOptions>

export interface CheckedLease {
  readonly size: number
  readonly duration: number
}

export interface CheckedShared {
  readonly options: SharedOptions
  readonly spec: Spec
  readonly maxWait: number
  readonly maxQueue: number
  readonly allow: boolean
  readonly storeTimeout: number
  readonly lease: CheckedLease | undefined
}

const checkedLease = (where: string, { duration, size }: Lease, { algorithm, window }: Spec): CheckedLease => {
  if (algorithm === "leaky-bucket") check.refuse(where, "lease", "left out with leaky-bucket", "one")
  const millis = check.positive(where, "lease.duration", duration ?? Duration.millis(window))
  check.notLonger(where, "lease.duration", millis, "window", window)
  return { size: check.positiveInteger(where, "lease.size", size), duration: millis }
}

export const checked = (where: string, options: SharedOptions): CheckedShared => {
  const basic = Options.checked(where, options)
  const onStoreError = options.onStoreError ?? defaults.onStoreError
  if (onStoreError !== "allow" && onStoreError !== "fail") {
    check.refuse(where, "onStoreError", "allow or fail", onStoreError)
  }
  return {
    ...basic,
    options,
    allow: onStoreError === "allow",
    storeTimeout: check.positive(where, "storeTimeout", options.storeTimeout ?? defaults.storeTimeout),
    lease: options.lease === undefined ? undefined : checkedLease(where, options.lease, basic.spec)
  }
}

/** The options with changes; what these leave out stays. */
export const changed = (where: string, options: SharedOptions, changes: SharedSettings): CheckedShared =>
  checked(where, {
    ...options,
    ...Options.changed(where, options, changes).options,
    onStoreError: changes.onStoreError ?? options.onStoreError,
    storeTimeout: changes.storeTimeout ?? options.storeTimeout
  })
