/**
 * Where a trace's context is written and read: the headers of HTTP, RabbitMQ and NATS, the fields of a Redis stream, any map of texts.
 *
 * A carrier is the library's own value, so a message is sent as it always was:
 *
 * | carrier | format |
 * |---|---|
 * | HTTP headers as a record, RabbitMQ's `headers`, Kafka's `headers`, any map | `record` |
 * | the fields and values of `XADD` and `XREADGROUP` | `fields` |
 * | NATS `MsgHdrs`, the web's `Headers` | `headers` |
 *
 * @since 0.1.0
 */

/**
 * How to read and write a carrier. Names are in lower case.
 *
 * @category models
 * @since 0.1.0
 */
export interface Format<in C> {
  readonly get: (carrier: C, name: string) => string | undefined
  readonly set: (carrier: C, name: string, value: string) => void
}

const decoder = new TextDecoder()

const textOf = (value: unknown): string | undefined => {
  if (typeof value === "string") return value
  if (value instanceof Uint8Array) return decoder.decode(value)
  return Array.isArray(value) ? textOf(value[0]) : undefined
}

/**
 * A record by name. Values that are bytes, as RabbitMQ and Kafka may have them, are read as UTF-8; of a list the first one counts.
 *
 * @category formats
 * @since 0.1.0
 */
export const record: Format<Record<string, unknown>> = {
  get: (carrier, name) => Object.hasOwn(carrier, name) ? textOf(carrier[name]) : undefined,
  set: (carrier, name, value) => {
    carrier[name] = value
  }
}

/**
 * The fields of an entry of a Redis stream: `[name, value, name, value, …]`.
 *
 * @category formats
 * @since 0.1.0
 */
export const fields: Format<Array<unknown>> = {
  get: (carrier, name) => {
    for (let i = 0; i + 1 < carrier.length; i += 2) if (textOf(carrier[i]) === name) return textOf(carrier[i + 1])
    return undefined
  },
  set: (carrier, name, value) => {
    for (let i = 0; i + 1 < carrier.length; i += 2) {
      if (textOf(carrier[i]) === name) {
        carrier[i + 1] = value
        return
      }
    }
    carrier.push(name, value)
  }
}

/**
 * Headers with `get` and `set`: those of NATS, and of the web.
 *
 * @category formats
 * @since 0.1.0
 */
export const headers: Format<{
  readonly get: (name: string) => string | null | undefined
  readonly set: (name: string, value: string) => void
}> = {
  // An absent header is "" in NATS, and null on the web.
  get: (carrier, name) => carrier.get(name) || undefined,
  set: (carrier, name, value) => carrier.set(name, value)
}
