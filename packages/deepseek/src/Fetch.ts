/**
 * The text of a web page, without a model.
 *
 * The service loads the page and gives its text as Markdown, which can be long. That takes seconds, at worst minutes. A page that is read is
 * billed, a failure is not.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { nullable } from "./internal/nullable.ts"

/**
 * Which page.
 *
 * @category models
 * @since 0.1.0
 */
export interface Request {
  /** An absolute http or https URL of at most 8,192 characters, without user and password. */
  readonly url: string
}

/**
 * A page. `content` is Markdown.
 *
 * @category models
 * @since 0.1.0
 */
export const Page = Schema.Struct({ title: nullable(Schema.String), content: Schema.String })

/**
 * @category models
 * @since 0.1.0
 */
export type Page = typeof Page.Type

/**
 * The service's limits.
 *
 * @category constants
 * @since 0.1.0
 */
export const limits = { url: 8192 } as const

/**
 * What of a request the service would refuse; undefined when nothing. The text does not show the URL, which may hold a password.
 *
 * @category checks
 * @since 0.1.0
 */
export const problem = ({ url }: Request): string | undefined => {
  if (url.length > limits.url) return `\`url\` must have at most ${limits.url} characters, got ${url.length}`
  const parsed = URL.parse(url)
  if (parsed === null || !/^https?:$/.test(parsed.protocol)) return "`url` must be an absolute http or https URL"
  return parsed.username + parsed.password === "" ? undefined : "`url` must not have a user or a password in it"
}
