import { assert, describe, it } from "@effect/vitest"
import { execFile, fork } from "node:child_process"
import { once } from "node:events"
import * as Fs from "node:fs"
import { tmpdir } from "node:os"
import * as Path from "node:path"
import { afterAll, beforeAll } from "vitest"
import { ballast, localEnvironment, type Program, startBallast } from "./support/ballast.ts"
import { describeWith } from "./support/program.ts"
import type { Run } from "./support/runSnippets.ts"
import { documents, root, type Snippet, snippets, snippetsOf } from "./support/snippets.ts"

const run = (program: string, args: ReadonlyArray<string>) =>
  new Promise<{ readonly code: unknown; readonly output: string }>((resolve) => {
    const options = { cwd: root, env: localEnvironment(), timeout: 60_000 }
    execFile(
      program,
      args,
      options,
      (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : error.code ?? error.signal, output: stdout + stderr })
    )
  })

const succeeds = async (program: string, args: ReadonlyArray<string>) => {
  const { code, output } = await run(program, args)
  assert.strictEqual(code, 0, output)
  return output
}

const title = ({ file, line }: Snippet) => `${file}:${line}`
const of = (language: string) => snippets.filter((snippet) => snippet.language === language)

/** The commands of a block: continued lines joined, comments and settings before the program taken off. */
const commandsOf = ({ code }: Snippet): Array<string> =>
  code.replaceAll("\\\n", " ").split(/\n|&&/)
    .map((line) => line.replace(/(^|\s)#.*$/, "").replace(/^\s*(?:[A-Z_]+=\S+\s+)*/, "").trim())
    .filter((command) => command !== "" && !command.startsWith("export "))

describe("documents", () => {
  it("show the same code in both languages", () => {
    const code = (file: string) => snippetsOf(file).map(({ code, language, runs }) => ({ code, language, runs }))
    assert.deepStrictEqual(code("README.zh-CN.md"), code("README.md"))
  })

  it("link to files that exist", () => {
    const broken = documents.filter((file) => file.endsWith(".md")).flatMap((file) => {
      const text = Fs.readFileSync(Path.join(root, file), "utf8")
      return Array.from(text.matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g), ([, link = ""]) => link)
        .filter((link) => !Fs.existsSync(Path.join(root, Path.dirname(file), link)))
        .map((link) => `${file}: ${link}`)
    })
    assert.deepStrictEqual(broken, [])
  })

  it("are all in the index", () => {
    const index = Fs.readFileSync(Path.join(root, "docs/README.md"), "utf8")
    const missing = documents.filter((file) => /^docs\/.*\.md$/.test(file) && file !== "docs/README.md")
      .filter((file) => !index.includes(`](${file.slice("docs/".length)})`))
    assert.deepStrictEqual(missing, [])
  })
})

describe("guides", () => {
  it("name files and folders that exist", () => {
    const missing = ["CONTRIBUTING.md", ...documents.filter((file) => /^docs\/[^/]+\.md$/.test(file))].flatMap(
      (file) => {
        const text = Fs.readFileSync(Path.join(root, file), "utf8")
        return Array.from(
          text.matchAll(/`((?:packages|examples|scripts|bench|docs|test)\/[\w./-]*)`/g),
          ([, path = ""]) => path
        )
          .filter((path) => !/[Ff]eature/.test(path) && !Fs.existsSync(Path.join(root, path)))
          .map((path) => `${file}: ${path}`)
      }
    )
    assert.deepStrictEqual(missing, [])
  })
})

describe("ts snippets", () => {
  const folder = Path.join(root, `.snippets-${process.pid}`)
  const path = (snippet: Snippet) => Path.join(folder, `${snippet.file.replaceAll("/", "_")}.L${snippet.line}.ts`)

  beforeAll(() => {
    Fs.mkdirSync(folder)
    for (const snippet of of("ts")) Fs.writeFileSync(path(snippet), snippet.code)
    Fs.writeFileSync(
      Path.join(folder, "tsconfig.json"),
      JSON.stringify({ extends: "../tsconfig.json", compilerOptions: { noUnusedLocals: false }, include: ["*.ts"] })
    )
  })
  afterAll(() => Fs.rmSync(folder, { recursive: true }))

  it.runIf(of("ts").length > 0)("have the right types", { timeout: 180_000 }, async () => {
    await succeeds(Path.join(root, "node_modules/.bin/tsc"), ["-p", folder])
  })

  describe("run", () => {
    const running = of("ts").filter((snippet) => snippet.runs)
    const runs = new Map<string, Run>()
    let output = ""
    beforeAll(async () => {
      const program = fork(Path.join(root, "test/support/runSnippets.ts"), running.map(path), {
        cwd: root,
        env: localEnvironment(),
        silent: true,
        timeout: 300_000
      })
      for (const stream of [program.stdout!, program.stderr!]) {
        stream.setEncoding("utf8").on("data", (text: string) => output += text)
      }
      program.on("message", (run: Run) => runs.set(run.path, run))
      const [code, signal] = await once(program, "close")
      output += `\nended with ${code ?? signal}`
    }, 320_000)

    for (const snippet of running) {
      it(title(snippet), () => {
        const run = runs.get(path(snippet))
        assert.isDefined(run, `The process had ended before:\n${output}`)
        assert.isUndefined(run.error, run.error)
      })
    }

    it("and end", () => assert.match(output, /ended with 0$/))
  })
})

/** Checks that the root has the script or `ballast` the subcommand and flags that a command names. */
const understands = async (command: string) => {
  const [program = "", ...words] = command.replace(/^npx /, "").split(/\s+/)
  if (program === "npm") {
    const [verb = "", name] = words
    const scripts = JSON.parse(Fs.readFileSync(Path.join(root, "package.json"), "utf8")).scripts
    if (verb !== "ci") assert.property(scripts, verb === "run" ? name ?? "" : verb)
  } else {
    assert.strictEqual(program, "ballast", "neither curl nor npm nor ballast; mark the fence as `sh no-run`")
    const [group = ""] = words
    const subcommand = words.filter((word) => /^[a-z]+$/.test(word)).slice(0, ["admin", "keys"].includes(group) ? 2 : 1)
    const help = await succeeds(process.execPath, [ballast, ...subcommand, "--help"])
    for (const flag of words.filter((word) => word.startsWith("--"))) assert.include(help, flag)
  }
}

/** Writes settings that serve the workflow of the document about that. */
const settingsWithWorkflow = (folder: string): string => {
  const [, workflow = ""] =
    /```yaml\n(workflow:[^]*?)```/.exec(Fs.readFileSync(Path.join(root, "docs/workflow-runs.md"), "utf8")) ?? []
  const [file, settings] = [Path.join(folder, "invoices.yaml"), Path.join(folder, "ballast.yaml")]
  Fs.writeFileSync(file, workflow)
  Fs.writeFileSync(settings, JSON.stringify({ workflows: { files: [file] } }))
  return settings
}

describe("sh snippets", () => {
  const commands = of("sh").filter((snippet) => snippet.runs).flatMap((snippet) =>
    commandsOf(snippet).map((command) => ({ snippet, command }))
  )

  for (const { command, snippet } of commands.filter(({ command }) => !command.startsWith("curl "))) {
    it(`${title(snippet)}: ${command}`, { timeout: 180_000 }, () => understands(command))
  }

  describeWith("curl", "sudo apt-get install curl")("curl", () => {
    const programs = new Map<string, Program>()
    const folder = Fs.mkdtempSync(Path.join(tmpdir(), "ballast-documents-"))
    beforeAll(async () => {
      programs.set("127.0.0.1:8787", await startBallast("serve", ["--config", settingsWithWorkflow(folder)]))
      programs.set("127.0.0.1:8788", await startBallast("simulate"))
    }, 180_000)
    afterAll(async () => {
      await Promise.all(Array.from(programs.values(), ({ stop }) => stop()))
      Fs.rmSync(folder, { recursive: true })
    })

    for (const { command, snippet } of commands.filter(({ command }) => command.startsWith("curl "))) {
      it(`${title(snippet)} is answered`, { timeout: 180_000 }, async () => {
        let local = command.replace(/^curl /, "curl --silent --show-error --fail-with-body --max-time 30 ")
        for (const [address, { port }] of programs) local = local.replace(address, `127.0.0.1:${port}`)
        await succeeds("bash", ["-c", local])
      })
    }
  })
})
