/** Changes of an answer's bytes, as broken networks and services make them. */
import { Effect, Stream } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"

export const kinds = ["cut", "drop", "flip", "double", "swap", "insert"] as const

export type Kind = (typeof kinds)[number]

/** Bytes after a change at a place, which is taken modulo their length. */
export const mutate = (bytes: Uint8Array, kind: Kind, place: number): Uint8Array => {
  const at = place % (bytes.length + 1)
  const [before, after] = [bytes.subarray(0, at), bytes.subarray(at)]
  const to = (place * 7919) % (bytes.length + 1)
  switch (kind) {
    case "cut":
      return before
    case "drop":
      return Buffer.concat([before, after.subarray(1 + place % 40)])
    case "flip":
      return Buffer.concat([before, Uint8Array.of((after[0] ?? 0) ^ (1 << (place % 8))), after.subarray(1)])
    case "double":
      return Buffer.concat([before, after.subarray(0, 60), after])
    case "swap":
      return Buffer.concat([after, before])
    case "insert":
      return Buffer.concat([before, bytes.subarray(to, to + 30), after])
  }
}

/** Whether bytes have what ends an answer: a finish reason, or a whole message. */
export const hasEnd = (bytes: Uint8Array): boolean =>
  /"finish_reason"\s*:\s*"[^"]|"message"/.test(new TextDecoder().decode(bytes))

/** A network that answers each request with these bytes, in pieces. */
export const answering = (bytes: () => Uint8Array, random: (below: number) => number): HttpClient.HttpClient =>
  HttpClient.make((request) =>
    Effect.sync(() => {
      const all = bytes()
      const pieces: Array<Uint8Array> = []
      for (let at = 0; at < all.length;) {
        const size = 1 + random(500)
        pieces.push(all.subarray(at, at += size))
      }
      const response = HttpClientResponse.fromWeb(request, new Response(null))
      return Object.create(response, { stream: { value: Stream.fromIterable(pieces) } })
    })
  )
