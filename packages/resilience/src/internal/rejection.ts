/**
 * Rejections come by the thousand when a dependency is in trouble, just when
 * there is no time to lose, so they are made at a tenth of an error's usual cost.
 *
 * What costs is the capture of the stack, which would show the policy's own
 * inside, and the check of fields that the policy itself has just computed. Both
 * are left out. The result is an error of its class in all else: a native error
 * with the class's name, message and judgement, which its schema encodes.
 */
export const make = <Fields extends object, E extends Error>(
  type: { new(fields: Fields): E; readonly identifier: string },
  fields: Fields
): E => {
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 0
  // The type is that of the target, but the prototype is that of the new target.
  const error = Reflect.construct(Error, [], type) as E
  Error.stackTraceLimit = limit
  return Object.assign(error, { _tag: type.identifier }, fields)
}
