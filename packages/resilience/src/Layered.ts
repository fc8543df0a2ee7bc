/**
 * Layers around the pulls of a stream that has begun, all run in one step.
 *
 * A policy around a stream has much to do until the first items are there, and then hardly anything: it waits for the end, and notes each
 * arrival. Nested as effects, ten policies still cost ten effects for every item. `around` puts its layer beside those that are around the pull
 * already, so that the pull stays one effect, whatever their number. Failures go through the layers from the inside out, as if they were nested.
 *
 * A policy that begins by a pull of its own is a `Switching`: it says where the stream goes on, so that those further out look through it. `stream`,
 * `suspend` and `unwrap` make the streams of such policies: what one of them leaves behind is freed with the next young objects.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import type * as Fiber from "effect/Fiber"
import type * as Pull from "effect/Pull"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

type Items<A> = readonly [A, ...Array<A>]
type ItemsPull<A, E, R> = Effect.Effect<Items<A>, E, R>

/**
 * What is done around each pull.
 *
 * **Gotchas**
 *
 * Interrupting the fiber that pulls runs none of it: whoever interrupts closes the stream's scope.
 *
 * @category models
 * @since 0.1.0
 */
export interface Layer<A, in E, out E2, out R2> {
  /** Called before a pull, from the outside in. What it returns takes the pull's place. */
  readonly before?: ((fiber: Fiber.Fiber<unknown, unknown>) => Effect.Effect<never, E2, R2> | undefined) | undefined
  /** Called with the items that came, from the inside out. */
  readonly items?: ((items: Items<A>, fiber: Fiber.Fiber<unknown, unknown>) => void) | undefined
  /** What follows a failure, the stream's end included. */
  readonly failed: (cause: Cause.Cause<E>) => ItemsPull<A, E2, R2>
}

/**
 * A pull that is another one once the first items have come. From then on `asEffect` always gives the same.
 *
 * @category models
 * @since 0.1.0
 */
export abstract class Switching<A, E, R> extends Effectable.Class<Items<A>, E, R> {}

class Chosen<A, E, R> extends Switching<A, E, R> {
  readonly current: () => ItemsPull<A, E, R>

  constructor(current: () => ItemsPull<A, E, R>) {
    super()
    this.current = current
  }

  override asEffect(): ItemsPull<A, E, R> {
    return this.current()
  }
}

/**
 * Makes a `Switching` of what tells its pull.
 *
 * @category constructors
 * @since 0.1.0
 */
export const switching = <A, E, R>(current: () => ItemsPull<A, E, R>): ItemsPull<A, E, R> => new Chosen(current)

/**
 * Puts a layer around the pull of a stream whose first items have come.
 *
 * @category combinators
 * @since 0.1.0
 */
export const around = <A, E, R, E2, R2>(
  pull: ItemsPull<A, E, R>,
  layer: Layer<A, E, E2, R2>
): ItemsPull<A, E2, R | R2> => {
  let inner = pull
  while (inner instanceof Switching) inner = inner.asEffect()
  // Each layer takes what the one before it gives.
  return new Stack<A, E2, R | R2>(inner, layer as AnyLayer<A>)
}

type AnyLayer<A> = Layer<A, unknown, unknown, unknown>

/** A pull with a layer around it, and with those around that one if it has any: each fits to the failures of the one before. Nobody pulls twice at a time. */
class Stack<A, E, R> extends Effectable.Class<Items<A>, E, R> {
  readonly inner: ItemsPull<A, unknown, unknown>
  readonly layer: AnyLayer<A>
  private pull: ItemsPull<A, E, R> | undefined

  constructor(inner: ItemsPull<A, unknown, unknown>, layer: AnyLayer<A>) {
    super()
    this.inner = inner
    this.layer = layer
  }

  override asEffect(): ItemsPull<A, E, R> {
    // Most have another layer put around them before they are pulled.
    return this.pull ??= layered(this) as ItemsPull<A, E, R>
  }
}

const layered = <A>(stack: Stack<A, unknown, unknown>): ItemsPull<A, unknown, unknown> => {
  const found: Array<AnyLayer<A>> = []
  let source: ItemsPull<A, unknown, unknown> = stack
  for (; source instanceof Stack; source = source.inner) found.push(source.layer)
  /** From the inside out. */
  const layers = found.toReversed()
  const failing = (ended: ItemsPull<A, unknown, unknown>, from: number): ItemsPull<A, unknown, unknown> =>
    layers.slice(from).reduce((inner, layer) => Effect.catchCause(inner, (cause) => layer.failed(cause)), ended)
  let puller: Fiber.Fiber<unknown, unknown>
  const pulled = Effect.matchCauseEffect(source, {
    onSuccess: (items) => {
      for (const layer of layers) layer.items?.(items, puller)
      return Effect.succeed(items)
    },
    onFailure: (cause) => failing(Effect.failCause(cause), 0)
  })
  return Effect.withFiber((fiber) => {
    puller = fiber
    for (let index = layers.length - 1; index >= 0; index--) {
      const instead = layers[index]?.before?.(fiber)
      if (instead !== undefined) return failing(instead, index + 1)
    }
    return pulled
  })
}

/**
 * A stream that is opened in the scope of its consumer, as `Channel.fromTransform` makes one.
 *
 * **When to use**
 *
 * Use it for streams that are made for each call. `Channel.fromTransform` writes its function where it sets a field. V8 puts such a function
 * among old objects at once, and whatever the stream refers to, chunks included, stays in memory until the next full collection.
 *
 * @category constructors
 * @since 0.1.0
 */
export const stream = <A, E, R, E2 = never, R2 = never>(
  open: (scope: Scope.Scope) => Effect.Effect<Pull.Pull<Items<A>, E, void, R>, E2, R2>
): Stream.Stream<A, E | E2, R | R2> => {
  // The field that `Channel.toTransform` reads; Effect has no other way to make a channel.
  const transform = (_: unknown, scope: Scope.Scope) => Effect.catchCause(open(scope), failing)
  const channel = Object.create(channelPrototype)
  channel.transform = transform
  return Stream.fromChannel<Items<A>, E | E2, R | R2>(channel)
}

const channelPrototype: object = Object.getPrototypeOf(Channel.empty)

const failing = <E>(cause: Cause.Cause<E>) => Effect.succeed(Effect.failCause(cause))

/**
 * A stream that is chosen when it is opened, as `Stream.suspend` makes one.
 *
 * @category constructors
 * @since 0.1.0
 */
export const suspend = <A, E, R>(
  choose: (fiber: Fiber.Fiber<unknown, unknown>) => Stream.Stream<A, E, R>
): Stream.Stream<A, E, R> =>
  stream((scope) => Effect.withFiber((fiber) => Channel.toPullScoped(Stream.toChannel(choose(fiber)), scope)))

/**
 * A stream that an effect chooses when it is opened, as `Stream.unwrap` makes one.
 *
 * @category constructors
 * @since 0.1.0
 */
export const unwrap = <A, E, R, E2, R2>(
  choice: Effect.Effect<Stream.Stream<A, E, R>, E2, R2>
): Stream.Stream<A, E | E2, R | R2> =>
  stream((scope) => Effect.flatMap(choice, (chosen) => Channel.toPullScoped(Stream.toChannel(chosen), scope)))
