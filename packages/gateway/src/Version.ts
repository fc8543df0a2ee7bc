/**
 * The version of this package.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { readFileSync } from "node:fs"

const decode = Schema.decodeUnknownSync(Schema.fromJsonString(Schema.Struct({ version: Schema.String })))

/**
 * The version that stands in `package.json`.
 *
 * @category accessors
 * @since 0.1.0
 */
export const version: string = decode(readFileSync(new URL("../package.json", import.meta.url), "utf8")).version
