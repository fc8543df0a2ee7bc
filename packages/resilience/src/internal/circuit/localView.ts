/**
 * What one process knows of a shared circuit, and what it decides by that. It
 * is what the store said last, and is good for a moment only.
 */
import type * as Machine from "./machine.ts"
import type { View } from "./store.ts"

export interface LocalView {
  /** Undefined until the store has said something. */
  view: View | undefined
  /** When that came. */
  at: number
  /** The request that it answers. Replies may overtake each other; that of an older request is ignored. */
  of: number
}

export const make = (): LocalView => ({ view: undefined, at: -Infinity, of: 0 })

export const learn = (local: LocalView, request: number, view: View, now: number): void => {
  if (request < local.of) return
  local.of = request
  local.view = view
  local.at = now
}

export type Decision =
  /** The store must say. */
  | { readonly _tag: "Ask" }
  | { readonly _tag: "Run"; readonly era: string }
  /** The call runs and nobody hears of its end. */
  | { readonly _tag: "Unjudged"; readonly spared: Machine.Rejecting | undefined }
  | { readonly _tag: "Reject"; readonly state: Machine.Rejecting; readonly retryAfter: number | undefined }

const ask: Decision = { _tag: "Ask" }

export const decide = ({ at, view }: LocalView, now: number): Decision => {
  if (view === undefined) return ask
  switch (view.phase) {
    case "Closed":
      return { _tag: "Run", era: view.era }
    case "Open": {
      const left = (view.left ?? 0) - (now - at)
      return left > 0 ? refuse(view, "open", left) : ask
    }
    case "HalfOpen":
      return view.free === true ? ask : refuse(view, "half-open", undefined)
    case "Isolated":
      return refuse(view, "isolated", undefined)
    case "Disabled":
      return { _tag: "Unjudged", spared: undefined }
  }
}

const refuse = (view: View, state: Machine.Rejecting, retryAfter: number | undefined): Decision =>
  view.shadow ? { _tag: "Unjudged", spared: state } : { _tag: "Reject", state, retryAfter }

/** Who is turned away by what was known last, however old it is: a probe, too, needs the store's leave. */
export const lastRefusal = (
  { at, view }: LocalView,
  now: number
): Extract<Decision, { _tag: "Reject" }> | undefined => {
  if (view === undefined || view.shadow) return undefined
  switch (view.phase) {
    case "Open":
      return { _tag: "Reject", state: "open", retryAfter: Math.max(0, (view.left ?? 0) - (now - at)) }
    case "HalfOpen":
      return { _tag: "Reject", state: "half-open", retryAfter: undefined }
    case "Isolated":
      return { _tag: "Reject", state: "isolated", retryAfter: undefined }
    default:
      return undefined
  }
}
