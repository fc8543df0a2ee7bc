import * as Channel from "effect/Channel"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

/**
 * A stream that is opened at its first pull and closed once, with its exit,
 * whatever happens in between, also while it is being opened.
 */
export const stream = <A, E, R, E2, R2>(
  open: Effect.Effect<Stream.Stream<A, E, R>, E2, R2>,
  close: (exit: Exit.Exit<unknown, E | E2>) => Effect.Effect<void>
): Stream.Stream<A, E | E2, R | R2> =>
  Stream.fromChannel(Channel.fromTransform((upstream, scope) =>
    Effect.andThen(
      Scope.addFinalizerExit(scope, close),
      Effect.flatMap(open, (opened) => Channel.toTransform(Stream.toChannel(opened))(upstream, scope))
    )
  ))
