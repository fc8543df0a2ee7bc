/** The files of `ops/` with the real programs: Prometheus and Alertmanager before a gateway under faults. */
import { NodeFileSystem } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Effect, FileSystem, type Scope } from "effect"
import { spawn, spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { freePort } from "../../../test/support/freePort.ts"
import { describeWith } from "../../../test/support/program.ts"
import { eventually, hello, post, send } from "./harness.ts"
import * as program from "./program.ts"
import * as robots from "./support/robots.ts"

const ops = (path: string) => fileURLToPath(new URL(`../../../ops/${path}`, import.meta.url))

/** Runs a program until the scope closes. */
const background = (name: string, args: ReadonlyArray<string>): Effect.Effect<void, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => spawn(name, args, { stdio: "ignore" })),
    (child) =>
      Effect.callback<void>((resume) => {
        if (child.exitCode !== null) return resume(Effect.void)
        child.once("exit", () => resume(Effect.void))
        child.kill("SIGKILL")
      })
  )

/** The rules with windows of seconds, and no patience. */
const hurried = (rules: string): string => rules.replaceAll("[5m]", "[10s]").replaceAll(/for: \S+/g, "for: 1s")

const prometheusConfig = (gateway: string, alertmanager: number, rules: string) => `
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: ["${rules}"]
alerting: { alertmanagers: [{ static_configs: [{ targets: ["127.0.0.1:${alertmanager}"] }] }] }
scrape_configs: [{ job_name: ballast, static_configs: [{ targets: ["${new URL(gateway).host}"] }] }]
`

const alertmanagerConfig = (config: string, gateway: string, mail: number): string =>
  config
    .replace("mail:25", `127.0.0.1:${mail}`)
    .replace("http://gateway:8787", new URL(gateway).origin)
    .replace(/ *http_config:\n.*\n.*\n/, "")
    .replace("group_wait: 10s", "group_wait: 1s")
    .replace("group_interval: 1m", "group_interval: 2s")

const adminKey = "admin-key"

const start = Effect.gen(function*() {
  const files = yield* FileSystem.FileSystem
  const folder = yield* files.makeTempDirectoryScoped()
  const robot = yield* robots.receive()
  const mail = yield* robots.mailSink()
  const { url } = yield* program.serve({
    BALLAST_DINGTALK_URL: `${robot.url}/robot/send?access_token=t`,
    BALLAST_DINGTALK_SECRET: robots.secret,
    BALLAST_ADMIN_KEYS: adminKey
  })
  const ports = { alertmanager: yield* Effect.promise(freePort), prometheus: yield* Effect.promise(freePort) }
  const write = (name: string, text: string) =>
    Effect.as(files.writeFileString(`${folder}/${name}`, text), `${folder}/${name}`)
  const rules = yield* write("rules.yml", hurried(yield* files.readFileString(ops("prometheus/rules.yml"))))
  const prometheus = yield* write("prometheus.yml", prometheusConfig(url, ports.alertmanager, rules))
  const alertmanager = yield* write(
    "alertmanager.yml",
    alertmanagerConfig(yield* files.readFileString(ops("alertmanager/alertmanager.yml")), url, mail.port)
  )
  yield* background("prometheus-alertmanager", [
    `--config.file=${alertmanager}`,
    `--storage.path=${folder}/alertmanager`,
    `--web.listen-address=127.0.0.1:${ports.alertmanager}`,
    "--cluster.listen-address="
  ])
  yield* background("prometheus", [
    `--config.file=${prometheus}`,
    `--storage.tsdb.path=${folder}/prometheus`,
    `--web.listen-address=127.0.0.1:${ports.prometheus}`,
    "--enable-feature=exemplar-storage"
  ])
  return { url, robot, mail, prometheus: `http://127.0.0.1:${ports.prometheus}` }
})

/** The traces that Prometheus keeps for the durations of requests. */
const exemplarsOf = (prometheus: string) => {
  const range = `start=${Date.now() / 1000 - 3600}&end=${Date.now() / 1000 + 60}`
  return Effect.map(
    send(`${prometheus}/api/v1/query_exemplars?query=http_request_duration_seconds_bucket&${range}`),
    ({ json }): ReadonlyArray<string> =>
      json.data.flatMap(({ exemplars }: { readonly exemplars: ReadonlyArray<{ readonly labels: object }> }) =>
        exemplars.map(({ labels }) => Object.values(labels)[0])
      )
  )
}

/** Calls the gateway again and again, several calls at once, while a condition does not hold. */
const callingUntil = (url: string, headers: Record<string, string>, condition: () => boolean): Effect.Effect<void> => {
  const call = post(`${url}/v1/chat/completions`, { ...hello, stream: true }, headers)
  const caller = call.pipe(Effect.andThen(Effect.sleep("300 millis")), Effect.forever)
  return Effect.raceFirst(
    Effect.all(Array.from({ length: 4 }, () => caller), { concurrency: "unbounded", discard: true }),
    eventually(Effect.sync(condition))
  )
}

const queriesOf = (dashboard: string): ReadonlyArray<string> => {
  const { panels } = JSON.parse(dashboard) as { panels: ReadonlyArray<{ targets: ReadonlyArray<{ expr: string }> }> }
  return panels.flatMap(({ targets }) => targets.map(({ expr }) => expr.replaceAll("$__rate_interval", "1m")))
}

describeWith("prometheus", "sudo apt-get install prometheus prometheus-alertmanager")("ops", () => {
  it.live("the files pass the programs' own checks", () =>
    Effect.sync(() => {
      for (
        const [name, ...args] of [
          ["promtool", "check", "config", "--syntax-only", ops("prometheus/prometheus.yml")],
          ["promtool", "check", "rules", ops("prometheus/rules.yml")],
          ["promtool", "test", "rules", ops("prometheus/rules.test.yml")],
          ["amtool", "check-config", ops("alertmanager/alertmanager.yml")],
          [
            process.execPath,
            fileURLToPath(new URL("../src/main.ts", import.meta.url)),
            "check",
            "--config",
            ops("ballast.yaml")
          ]
        ] as const
      ) {
        const { status, stderr, stdout } = spawnSync(name, args, { encoding: "utf8" })
        assert.strictEqual(status, 0, `${name} ${args.join(" ")}\n${stdout}${stderr}`)
      }
    }))

  it.live(
    "an alert fires under faults, arrives by mail and as a signed message, and resolves",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const { mail, prometheus, robot, url } = yield* start
        const told = (title: string) => robot.received.some(({ body }) => body.markdown.title === title)
        const mailed = (subject: RegExp) => mail.mails.some((text) => subject.test(text))

        yield* callingUntil(
          url,
          { "x-simulate": "status=503" },
          () => told("Firing: HighErrorRatio") && mailed(/FIRING.*HighErrorRatio/)
        )
        assert.isTrue(robot.received.every(({ signed }) => signed))
        yield* callingUntil(url, {}, () => told("Resolved: HighErrorRatio") && mailed(/RESOLVED.*HighErrorRatio/))

        const { headers } = yield* post(`${url}/v1/chat/completions`, hello)
        const traceId = headers.get("x-trace-id") ?? "none"
        yield* eventually(Effect.map(exemplarsOf(prometheus), (ids) => ids.includes(traceId)))

        // Reads the balances, which the gateway does by itself after a minute.
        yield* send(`${url}/admin/v1/accounts`, { headers: { authorization: `Bearer ${adminKey}` } })
        const dashboard = yield* Effect.flatMap(
          FileSystem.FileSystem,
          (files) => files.readFileString(ops("grafana/dashboard.json"))
        )
        for (const expr of queriesOf(dashboard)) {
          yield* eventually(Effect.map(
            send(`${prometheus}/api/v1/query?query=${encodeURIComponent(expr)}`),
            ({ json }) => json.data.result.length > 0
          )).pipe(Effect.timeoutOrElse({ duration: "15 seconds", orElse: () => Effect.die(`no data: ${expr}`) }))
        }
      })).pipe(Effect.provide(NodeFileSystem.layer)),
    { timeout: 180_000 }
  )
})
