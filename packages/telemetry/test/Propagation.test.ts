import { Carrier, Logs, Propagation } from "@ballast/telemetry"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Layer, Tracer } from "effect"

const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
const span = "00f067aa0ba902b7"

const w3c = `00-${trace}-${span}-01`

const parent = (traceparent: string) => Propagation.extract({ traceparent }).parent

const parts = (found: Tracer.ExternalSpan | undefined) => found && [found.traceId, found.spanId, found.sampled]

const settingsOf = (env: Record<string, string>) =>
  Effect.map(Effect.context<never>(), () => undefined).pipe(
    Effect.andThen(Effect.service(Propagation.Settings)),
    Effect.provide(Propagation.layerConfig.pipe(Layer.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env })))))
  )

describe("Propagation", () => {
  it.each([
    [`00-${trace}-${span}-01`, true],
    [`00-${trace}-${span}-00`, false],
    [`00-${trace}-${span}-03`, true],
    [`01-${trace}-${span}-01`, true],
    [`cc-${trace}-${span}-01-what-comes-later`, true]
  ])("reads %s", (header, sampled) => {
    const read = parent(header)
    assert.strictEqual(read?.traceId, trace)
    assert.strictEqual(read?.spanId, span)
    assert.strictEqual(read?.sampled, sampled)
  })

  it.each([
    "",
    "nonsense",
    `ff-${trace}-${span}-01`,
    `00-${trace}-${span}-01-extra`,
    `00-${trace.toUpperCase()}-${span}-01`,
    `00-${"0".repeat(32)}-${span}-01`,
    `00-${trace}-${"0".repeat(16)}-01`,
    `00-${trace}-${span}`,
    `00-${trace}-${span}-1`,
    `01-${trace}-${span}-01extra`
  ])("ignores \"%s\"", (header) => {
    assert.isUndefined(parent(header))
  })

  it("finds nothing in a request without context", () => {
    assert.deepStrictEqual(Propagation.extract({}), { parent: undefined, denied: false, carried: undefined })
  })

  it.each<readonly [Record<string, string>, ReadonlyArray<unknown> | undefined]>([
    [{ b3: `${trace}-${span}-1` }, [trace, span, true]],
    [{ b3: `${trace}-${span}-0-${span}` }, [trace, span, false]],
    [{ b3: `${trace}-${span}-d` }, [trace, span, true]],
    [{ b3: `${trace.slice(16)}-${span}` }, ["0".repeat(16) + trace.slice(16), span, true]],
    [{ b3: "0" }, undefined],
    [{ b3: `${"0".repeat(32)}-${span}-1` }, undefined],
    [{ "x-b3-traceid": trace, "x-b3-spanid": span, "x-b3-sampled": "0" }, [trace, span, false]],
    [{ "x-b3-traceid": trace, "x-b3-spanid": span, "x-b3-flags": "1" }, [trace, span, true]],
    [{ "x-b3-traceid": trace }, undefined],
    [{ traceparent: w3c, b3: `${"1".repeat(32)}-${span}-0` }, [trace, span, true]],
    [{ traceparent: "nonsense", b3: `${trace}-${span}-1` }, [trace, span, true]]
  ])("reads B3 %o", (headers, expected) => {
    assert.deepStrictEqual(parts(Propagation.extract(headers).parent), expected)
  })

  it.each<readonly [Record<string, string>, boolean]>([
    [{ b3: "0" }, true],
    [{ "x-b3-sampled": "0" }, true],
    [{ b3: "1" }, false],
    [{ b3: `${trace}-${span}-0` }, false],
    [{ traceparent: w3c, b3: "0" }, false]
  ])("hears from %o that no trace is wanted: %s", (headers, denied) => {
    assert.strictEqual(Propagation.extract(headers).denied, denied)
  })

  it("takes an id to search for only if it is a sane one", () => {
    const idOf = (id: string) => Propagation.extract({ "x-trace-id": id }).carried?.traceId
    for (const id of ["order-2026:17", "12345678", "x".repeat(128), trace]) assert.strictEqual(idOf(id), id)
    for (const id of ["short", "x".repeat(129), "a b c d e f", "line\nbreak", "\"quoted\""]) {
      assert.isUndefined(idOf(id))
    }
  })

  it("keeps the trace's state beside a W3C parent, and bounds it", () => {
    const stateOf = (headers: Record<string, string>) => Propagation.extract(headers).carried?.traceState
    assert.strictEqual(stateOf({ traceparent: w3c, tracestate: "vendor=1,other=2" }), "vendor=1,other=2")
    assert.isUndefined(stateOf({ tracestate: "vendor=1" }))
    assert.isUndefined(stateOf({ traceparent: w3c, tracestate: "x".repeat(513) }))
    assert.isUndefined(stateOf({ traceparent: w3c, tracestate: "a=\r\nb" }))
  })

  it("lets only allowed baggage pass", () => {
    const baggage = "tenant=acme;ttl=1, secret=x ,team = blue,tenantx=1,=,nonsense"
    const passed = (names: ReadonlyArray<string>, text = baggage) =>
      Propagation.extract({ baggage: text }, Carrier.record, { propagators: [], baggage: names }).carried?.baggage
    assert.isUndefined(passed([]))
    assert.strictEqual(passed(["tenant", "team"]), "tenant=acme;ttl=1,team = blue")
    assert.isUndefined(passed(["tenant"], `tenant=${"x".repeat(9000)}`))
    assert.isUndefined(passed(["tenant"], "tenant=a\r\nb"))
  })

  it.effect("writes what the settings name", () =>
    Effect.gen(function*() {
      const written = (propagators: ReadonlyArray<Propagation.Propagator>) =>
        Propagation.inject({}).pipe(
          Effect.withParentSpan(Tracer.externalSpan({ traceId: trace, spanId: span, sampled: false })),
          Effect.provideService(Propagation.Carried, { traceState: "v=1", baggage: "a=b" }),
          Effect.provideService(Propagation.Settings, { propagators, baggage: ["a"] })
        )
      const traceparent = `00-${trace}-${span}-00`
      assert.deepStrictEqual(yield* written(["tracecontext", "baggage"]), {
        traceparent,
        tracestate: "v=1",
        baggage: "a=b",
        "x-trace-id": trace
      })
      assert.deepStrictEqual(yield* written(["b3"]), { b3: `${trace}-${span}-0`, "x-trace-id": trace })
      assert.deepStrictEqual(yield* written(["b3multi"]), {
        "x-b3-traceid": trace,
        "x-b3-spanid": span,
        "x-b3-sampled": "0",
        "x-trace-id": trace
      })
    }))

  it.effect("reads its settings from the environment", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* settingsOf({}), { propagators: ["tracecontext", "baggage"], baggage: [] })
      assert.deepStrictEqual(
        yield* settingsOf({ OTEL_PROPAGATORS: "b3, tracecontext", BALLAST_BAGGAGE: "tenant,team" }),
        {
          propagators: ["b3", "tracecontext"],
          baggage: ["tenant", "team"]
        }
      )
      assert.deepStrictEqual((yield* settingsOf({ OTEL_PROPAGATORS: "none" })).propagators, [])
      const error = yield* Effect.flip(settingsOf({ OTEL_PROPAGATORS: "jaeger" }))
      assert.include(String(error.cause), "OTEL_PROPAGATORS has \"jaeger\"")
    }))

  const nats = () => {
    const all = new Map<string, string>()
    return {
      get: (name: string) => all.get(name) ?? "",
      set: (name: string, value: string) => void all.set(name, value)
    }
  }

  const roundTrip = <C>(carrier: C, format: Carrier.Format<C>, arrived: (carrier: C) => C) =>
    Effect.gen(function*() {
      const lines: Array<Record<string, unknown>> = []
      const sender = yield* Effect.useSpan("send", (sent) =>
        Effect.as(
          Effect.withParentSpan(Propagation.inject(carrier, format), sent),
          sent
        ))
      yield* Effect.gen(function*() {
        const received = yield* Effect.currentSpan
        assert.strictEqual(received.traceId, sender.traceId)
        assert.strictEqual((received.parent as { readonly value?: Tracer.AnySpan }).value?.spanId, sender.spanId)
        yield* Effect.logInfo("received")
      }).pipe(
        Effect.withSpan("receive"),
        Propagation.joined(arrived(carrier), format),
        Effect.provide(Logs.layer({ write: (line) => lines.push(JSON.parse(line)) }))
      )
      assert.strictEqual(lines[0]?.["trace_id"], "order-17")
      assert.strictEqual(lines[0]?.["span_trace_id"], sender.traceId)
    }).pipe(Effect.provideService(Propagation.Carried, { traceId: "order-17" }))

  it.effect("joins the sender's trace through the fields of a stream", () =>
    roundTrip<Array<unknown>>(
      ["ticket", "42"],
      Carrier.fields,
      (fields) => fields.map((text) => Buffer.from(String(text)))
    ))

  it.effect("joins the sender's trace through a record of headers", () =>
    roundTrip<Record<string, unknown>>({ priority: 1 }, Carrier.record, (headers) => ({
      ...headers,
      traceparent: Buffer.from(String(headers["traceparent"]))
    })))

  it.effect("joins the sender's trace through headers with get and set", () =>
    roundTrip<ReturnType<typeof nats>>(nats(), Carrier.headers, (headers) => headers))

  it("overwrites fields that are there", () => {
    const fields = ["traceparent", "old", "a", "b"]
    Carrier.fields.set(fields, "traceparent", "new")
    assert.deepStrictEqual(fields, ["traceparent", "new", "a", "b"])
  })
})
