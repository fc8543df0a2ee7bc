/** Its constructor returns the given object, so a private field of a subclass lands on that object. */
export const Given = class {
  constructor(value: object) {
    return value
  }
}
