/**
 * The rule for the adapter of autoscaling, as `docs/kubernetes.md` has it: its form is that of prometheus-adapter's `DiscoveryRule`, and what the
 * adapter asks by it is asked of a Prometheus that scrapes a gateway.
 *
 * @see {@link https://github.com/kubernetes-sigs/prometheus-adapter/blob/master/docs/config.md}
 */
import { NodeFileSystem } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Effect, FileSystem, Schema } from "effect"
import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Yaml from "yaml"
import { freePort } from "../../../test/support/freePort.ts"
import { describeWith } from "../../../test/support/program.ts"
import { eventually, hello, post, send } from "./harness.ts"
import * as program from "./program.ts"

const Rules = Schema.Struct({
  rules: Schema.Struct({
    custom: Schema.Tuple([Schema.Struct({
      seriesQuery: Schema.String,
      resources: Schema.Struct({
        overrides: Schema.Record(Schema.String, Schema.Struct({ resource: Schema.Literals(["namespace", "pod"]) }))
      }),
      name: Schema.Struct({ as: Schema.String }),
      metricsQuery: Schema.String
    })])
  })
})

const guide = Fs.readFileSync(new URL("../../../docs/kubernetes.md", import.meta.url), "utf8")
const [, text = ""] = /```yaml\n(rules:\n[^]*?)```/.exec(guide) ?? []
const { rules: { custom: [rule] } } = Schema.decodeUnknownSync(Rules)(Yaml.parse(text), { onExcessProperty: "error" })

/** The label that stands for a resource. */
const labelOf = (resource: string): string =>
  Object.entries(rule.resources.overrides).find(([, override]) => override.resource === resource)?.[0] ?? ""

/** What the adapter asks for pods of a namespace, as it fills the template in. */
const query = (series: string, namespace: string, pods: ReadonlyArray<string>): string =>
  rule.metricsQuery
    .replace("<<.Series>>", series)
    .replace("<<.LabelMatchers>>", `${labelOf("namespace")}="${namespace}",${labelOf("pod")}=~"${pods.join("|")}"`)
    .replace("<<.GroupBy>>", labelOf("pod"))

const prometheus = Effect.fnUntraced(function*(gateway: string, pods: ReadonlyArray<string>) {
  const files = yield* FileSystem.FileSystem
  const folder = yield* files.makeTempDirectoryScoped()
  const port = yield* Effect.promise(freePort)
  // As a ServiceMonitor labels them.
  const targets = pods.map((pod) => ({ targets: [new URL(gateway).host], labels: { namespace: "ballast", pod } }))
  const config = {
    global: { scrape_interval: "1s" },
    scrape_configs: [{ job_name: "ballast", static_configs: targets }]
  }
  yield* files.writeFileString(`${folder}/prometheus.yml`, Yaml.stringify(config))
  yield* Effect.acquireRelease(
    Effect.sync(() =>
      spawn("prometheus", [
        `--config.file=${folder}/prometheus.yml`,
        `--storage.tsdb.path=${folder}/data`,
        `--web.listen-address=127.0.0.1:${port}`
      ], { stdio: "ignore" })
    ),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )
  return `http://127.0.0.1:${port}`
})

const ask = (url: string) =>
  Effect.catchDefect(Effect.map(send(url), ({ json }) => json?.data), () => Effect.succeed(undefined))

describeWith("prometheus", "sudo apt-get install prometheus")("the rule of autoscaling", () => {
  it.live("gives the calls in flight of each pod, under the name that the chart scales by", () =>
    Effect.gen(function*() {
      const chart = Fs.readFileSync(
        new URL("../../../ops/kubernetes/chart/templates/gateway.yaml", import.meta.url),
        "utf8"
      )
      assert.include(chart, `metric: { name: ${rule.name.as} }`)

      const { url } = yield* program.serve({})
      const pods = ["ballast-0", "ballast-1"]
      const base = yield* prometheus(url, pods)
      const series = `${base}/api/v1/series?match[]=${encodeURIComponent(rule.seriesQuery)}`
      yield* eventually(Effect.map(ask(series), (found) => found?.length === pods.length))
      for (const { __name__: name } of yield* ask(series)) assert.strictEqual(name, rule.name.as)

      const asked = `${base}/api/v1/query?query=${encodeURIComponent(query(rule.name.as, "ballast", pods))}`
      const values = Effect.map(ask(asked), (found): Readonly<Record<string, number>> =>
        Object.fromEntries(
          (found?.result ?? []).map((one: { metric: { pod: string }; value: [number, string] }) => [
            one.metric.pod,
            Number(one.value[1])
          ])
        ))
      // A scrape is a request, too.
      yield* eventually(Effect.map(values, (values) => pods.every((pod) => Number(values[pod]) <= 2)))
      yield* Effect.forkChild(
        Effect.forEach(
          [1, 2, 3, 4, 5],
          () => post(`${url}/v1/chat/completions`, hello, { "x-simulate": "latency=60s" }),
          { concurrency: "unbounded" }
        )
      )
      yield* eventually(Effect.map(values, (values) => pods.every((pod) => Number(values[pod]) >= 5)))
      assert.deepStrictEqual(Object.keys(yield* values).sort(), pods)
    }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer)))
})
