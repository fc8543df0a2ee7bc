import { crowds, promises, rejected } from "../promises.ts"

/** The call without anything around it. */
export const bare = promises(() => (call) => call())

const error = new Error("down")

/** The failure that rejections are beside. */
export const rejection = rejected(() => () => Promise.reject(error), (caught) => caught === error)

export const crowd = crowds(() => (call) => call())
