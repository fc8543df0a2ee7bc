/**
 * Rejections come by the thousand when a dependency is in trouble, just when
 * there is no time to lose, so they are made at a tenth of an error's usual cost.
 *
 * What costs is the check of fields that the policy itself has just computed,
 * and a native error: the engine captures a stack for it, which would show the
 * policy's own inside, and even an empty one takes longer than all the rest. So
 * these are plain objects of the error's class, with its name, message and
 * judgement, which its schema encodes. Instead of a stack they tell what they
 * are, and whoever asks for their tag hears that of an error; only the engine's
 * own check for native errors (`Error.isError`) says no.
 */
interface Type<Fields extends object, E extends Error> {
  new(fields: Fields): E
  readonly identifier: string
}

export const make = <Fields extends object, E extends Error>(type: Type<Fields, E>, fields: Fields): E =>
  Object.assign(Object.create(prototypeOf(type)), { _tag: type.identifier }, fields)

const prototypes = new WeakMap<object, object>()

const prototypeOf = (type: { readonly prototype: object }): object => {
  const known = prototypes.get(type)
  if (known !== undefined) return known
  const prototype: object = Object.create(type.prototype, {
    stack: {
      configurable: true,
      get() {
        return Error.prototype.toString.call(this)
      },
      // Some tools write the stack that they have cleaned.
      set(stack: unknown) {
        Object.defineProperty(this, "stack", { configurable: true, writable: true, value: stack })
      }
    },
    [Symbol.toStringTag]: { configurable: true, value: "Error" }
  })
  prototypes.set(type, prototype)
  return prototype
}
