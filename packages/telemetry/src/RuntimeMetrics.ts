/**
 * What the process itself is doing: event loop, heap, garbage collection, open sockets.
 *
 * Gauges are set every five seconds by a fiber of their own; garbage collections are counted as they happen. An event loop that is late
 * makes every call late, whatever the service does.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import { constants, monitorEventLoopDelay, performance, PerformanceObserver } from "node:perf_hooks"
import { getHeapStatistics } from "node:v8"

const delay = Metric.gauge("nodejs_eventloop_delay_p99_seconds", {
  description: "Delay of the event loop: the 99th percentile of the last five seconds"
})
const utilization = Metric.gauge("nodejs_eventloop_utilization", {
  description: "Share of the last five seconds in which the event loop was busy"
})
const heapUsed = Metric.gauge("v8js_memory_heap_used_bytes", { description: "Heap that is used" })
const heapLimit = Metric.gauge("v8js_memory_heap_limit_bytes", { description: "The most that the heap may grow to" })
const resident = Metric.gauge("process_resident_memory_bytes", { description: "Memory of the process" })
const sockets = Metric.gauge("process_open_sockets", { description: "TCP connections that are open" })

const gc = Metric.histogram("v8js_gc_duration_seconds", {
  description: "Length of garbage collections",
  boundaries: [0.001, 0.01, 0.1, 1, 10]
})

const gcTypes: ReadonlyMap<number, string> = new Map([
  [constants.NODE_PERFORMANCE_GC_MAJOR, "major"],
  [constants.NODE_PERFORMANCE_GC_MINOR, "minor"],
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL, "incremental"],
  [constants.NODE_PERFORMANCE_GC_WEAKCB, "weakcb"]
])

/** Garbage collections have a kind, which the types of performance entries do not know. */
const kindOf = (entry: object): number => {
  const detail: unknown = "detail" in entry ? entry.detail : undefined
  return typeof detail === "object" && detail !== null && "kind" in detail ? Number(detail.kind) : 0
}

/**
 * Keeps the metrics until the scope closes.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<never> = Layer.effectDiscard(Effect.gen(function*() {
  const context = yield* Effect.context<never>()
  const loop = yield* Effect.acquireRelease(
    Effect.sync(() => {
      const histogram = monitorEventLoopDelay({ resolution: 20 })
      histogram.enable()
      return histogram
    }),
    (histogram) => Effect.sync(() => histogram.disable())
  )
  yield* Effect.acquireRelease(
    Effect.sync(() => {
      const observer = new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) {
          const type = gcTypes.get(kindOf(entry)) ?? "other"
          Metric.withAttributes(gc, { type }).updateUnsafe(entry.duration / 1000, context)
        }
      })
      observer.observe({ entryTypes: ["gc"] })
      return observer
    }),
    (observer) => Effect.sync(() => observer.disconnect())
  )
  let before = performance.eventLoopUtilization()
  const sample = Effect.sync(() => {
    const now = performance.eventLoopUtilization()
    utilization.updateUnsafe(performance.eventLoopUtilization(now, before).utilization, context)
    before = now
    delay.updateUnsafe(Number.isFinite(loop.mean) ? loop.percentile(99) / 1e9 : 0, context)
    loop.reset()
    const { heap_size_limit, used_heap_size } = getHeapStatistics()
    heapUsed.updateUnsafe(used_heap_size, context)
    heapLimit.updateUnsafe(heap_size_limit, context)
    resident.updateUnsafe(process.memoryUsage.rss(), context)
    const open = process.getActiveResourcesInfo().filter((resource) => resource === "TCPSocketWrap")
    sockets.updateUnsafe(open.length, context)
  })
  yield* sample
  yield* Effect.forkScoped(Effect.repeat(sample, Schedule.spaced("5 seconds")))
}))
