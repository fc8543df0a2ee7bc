import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { onTestFinished } from "vitest"
import { packages } from "../scripts/build.ts"
import * as Directions from "../scripts/directions.ts"
import * as Lockfile from "../scripts/lockfile.ts"

/** A repository of the given files, gone when the test ends. */
const repository = (files: Record<string, unknown>): string => {
  const root = Fs.mkdtempSync(Path.join(Os.tmpdir(), "ballast-"))
  onTestFinished(() => Fs.rmSync(root, { recursive: true }))
  for (const [path, content] of Object.entries(files)) {
    Fs.mkdirSync(Path.join(root, Path.dirname(path)), { recursive: true })
    Fs.writeFileSync(Path.join(root, path), typeof content === "string" ? content : JSON.stringify(content))
  }
  return root
}

/** A package with one source file and the dependencies given. */
const onePackage = (name: string, source: string, ...dependencies: ReadonlyArray<string>) =>
  repository({
    [`packages/${name}/package.json`]: {
      dependencies: Object.fromEntries(dependencies.map((dependency) => [dependency, "0.0.0"]))
    },
    [`packages/${name}/src/A.ts`]: source,
    [`packages/${name}/tsconfig.build.json`]: {
      references: dependencies.filter((dependency) => dependency.startsWith("@ballast/"))
        .map((dependency) => ({ path: `${dependency.replace("@ballast", "..")}/tsconfig.build.json` }))
    }
  })

describe("directions", () => {
  it("accept an import that points down", () => {
    const root = onePackage(
      "deepseek",
      `import type { Policy } from "@ballast/resilience/Policy"\n`,
      "@ballast/resilience"
    )
    assert.deepStrictEqual(Directions.check(root), [])
  })

  it("refuse an import that points up, however it is written", () => {
    for (
      const source of [
        `import * as DeepSeek from "@ballast/deepseek/DeepSeek"\n`,
        `import {\n  ChatModel,\n  type ChatError\n} from "@ballast/deepseek"\n`,
        `import type { ChatModel } from "@ballast/deepseek"\n`,
        `export * from "@ballast/deepseek"\n`,
        `import "@ballast/deepseek"\n`,
        `export const load = () => import("@ballast/deepseek")\n`,
        "export const load = () => import(`@ballast/deepseek/DeepSeek`)\n",
        `export const load = () => import(/* webpackIgnore: true */ (("@ballast/deepseek")))\n`,
        `export const a = 1; import { DeepSeek } from "@ballast/deepseek/DeepSeek"\n`,
        `import models from "@ballast/deepseek/models.json" with { type: "json" }\n`,
        `export * as DeepSeek from "\\u0040ballast/deepseek"\n`,
        `export type { ChatModel } from "@ballast/deepseek"\n`,
        `export type Model = import("@ballast/deepseek").ChatModel\n`,
        `export type Module = typeof import("@ballast/deepseek")\n`,
        `import DeepSeek = require("@ballast/deepseek")\n`,
        `export const load = () => require("@ballast/deepseek")\n`,
        `export const where = import.meta.resolve("@ballast/deepseek")\n`,
        `declare module "@ballast/deepseek" {\n  interface ChatRequest {}\n}\n`
      ]
    ) {
      const problems = Directions.check(onePackage("resilience", source, "@ballast/deepseek"))
      assert.lengthOf(problems, 1, source)
      assert.include(problems[0], "resilience may not import deepseek")
    }
  })

  it("refuse a module whose name is computed", () => {
    for (
      const source of [
        "export const load = (name: string) => import(`@ballast/${name}`)\n",
        `export const load = () => import("@ballast/" + "deepseek")\n`,
        `export const load = (name: string) => require(name)\n`
      ]
    ) {
      assert.deepStrictEqual(Directions.check(onePackage("resilience", source)), [
        "packages/resilience/src/A.ts: imports a module whose name it computes"
      ])
    }
  })

  it("read every kind of source, and refuse what cannot be read", () => {
    for (const file of ["A.mts", "internal/A.tsx", "A.js", "A.d.ts"]) {
      const root = onePackage("resilience", "", "@ballast/deepseek")
      const path = Path.join(root, "packages/resilience/src", file)
      Fs.mkdirSync(Path.dirname(path), { recursive: true })
      Fs.writeFileSync(path, `import "@ballast/deepseek"\n`)
      assert.include(Directions.check(root)[0], "resilience may not import deepseek", file)
    }
    assert.include(Directions.check(onePackage("resilience", "import {"))[0], "A.ts: cannot be parsed")
  })

  it("do not read comments and texts", () => {
    const source =
      `/**\n * import { DeepSeek } from "@ballast/deepseek"\n */\nexport const a = 1 // import("@ballast/deepseek")\n` +
      "export const b = `\nimport { DeepSeek } from \"@ballast/deepseek\"\n`\n"
    assert.deepStrictEqual(
      Directions.check(onePackage("resilience", source)).filter((problem) => problem.includes("A.ts")),
      []
    )
  })

  it("refuse a path out of the package", () => {
    for (
      const source of [
        `import * as Policy from "../../resilience/src/Policy.ts"\n`,
        "export const load = () => import(`../../resilience/src/Policy.ts`)\n",
        `export type Policy = import("../../resilience/src/Policy.ts").Policy<never>\n`,
        `declare module "../test/support.ts" {}\n`,
        `import * as Policy from "/packages/resilience/src/Policy.ts"\n`,
        `import * as Policy from "file:///packages/resilience/src/Policy.ts"\n`
      ]
    ) assert.include(Directions.check(onePackage("deepseek", source))[0], "outside its package", source)
  })

  it("demand that dependencies and imports agree", () => {
    assert.include(Directions.check(onePackage("deepseek", `import { Agent } from "undici"\n`))[0], "does not declare")
    assert.include(Directions.check(onePackage("deepseek", "", "undici"))[0], "do not import")
  })
})

describe("lockfile", () => {
  const lockfile = {
    packages: {
      "node_modules/tool": { version: "1.0.0", dev: true, optionalDependencies: { "@tool/linux-arm64-musl": "1.0.0" } },
      "node_modules/other": { version: "2.0.0", resolved: "https://registry.example/other-2.0.0.tgz" },
      "node_modules/strict": { version: "3.0.0", engines: { node: ">=26" } }
    }
  }

  it("reports a missing optional package, a registry, and engines", () => {
    assert.lengthOf(Lockfile.problems(lockfile), 3)
  })

  it("is complete after a repair", () => {
    const repaired = Lockfile.complete(lockfile)
    assert.deepStrictEqual(Lockfile.problems(repaired), [])
    assert.deepStrictEqual(repaired.packages["node_modules/@tool/linux-arm64-musl"], {
      version: "1.0.0",
      cpu: ["arm64"],
      dev: true,
      libc: ["musl"],
      optional: true,
      os: ["linux"]
    })
  })
})

describe("scripts", () => {
  const root = Path.resolve(import.meta.dirname, "..")
  const node = (script: string, args: ReadonlyArray<string>, cwd = root) =>
    spawnSync(process.execPath, [Path.join(root, script), ...args], { cwd, encoding: "utf8" })

  it("know --help", { timeout: 30_000 }, () => {
    for (const name of ["build", "check", "lockfile"]) {
      const { status, stderr, stdout } = node(`scripts/${name}.ts`, ["--help"])
      assert.deepStrictEqual([status, stderr], [0, ""])
      assert.match(stdout, /^npm run /)
    }
  })

  it("refuse to pack sources, and say what to pack", () => {
    for (const folder of packages) {
      const { scripts } = JSON.parse(Fs.readFileSync(Path.join(folder, "package.json"), "utf8"))
      assert.strictEqual(scripts?.prepack, "node ../../scripts/prepack.ts", folder)
    }
    const { status, stderr } = node("scripts/prepack.ts", [], Path.join(root, "packages/chat"))
    assert.strictEqual(status, 1)
    assert.include(stderr, "npm run build && npm pack ./packages/chat/dist")
  })

  it("release all packages with one version", () => {
    const { fixed } = JSON.parse(Fs.readFileSync(Path.join(root, ".changeset/config.json"), "utf8"))
    assert.deepStrictEqual(fixed, [packages.map((folder) => `@ballast/${Path.basename(folder)}`)])
  })
})
