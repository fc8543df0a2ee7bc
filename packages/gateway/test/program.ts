/** Runs the real program: `ballast` as a process of its own. */
import { Effect, type Scope } from "effect"
import { type ChildProcess, spawn } from "node:child_process"
import { fileURLToPath } from "node:url"

const main = fileURLToPath(new URL("../src/main.ts", import.meta.url))

export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

const environment = (env: Record<string, string>) => {
  const { PATH, TMPDIR } = process.env
  return { PATH, TMPDIR, NODE_NO_WARNINGS: "1", BALLAST_DATABASE: ":memory:", ...env }
}

export class Program {
  readonly child: ChildProcess
  stdout = ""
  stderr = ""

  constructor(child: ChildProcess) {
    this.child = child
    this.child.stdout!.setEncoding("utf8").on("data", (text: string) => this.stdout += text)
    this.child.stderr!.setEncoding("utf8").on("data", (text: string) => this.stderr += text)
  }

  /** Waits until standard output, or standard error, matches. */
  printed(pattern: RegExp, on: "stdout" | "stderr" = "stdout"): Effect.Effect<RegExpExecArray> {
    return Effect.callback((resume) => {
      const look = () => {
        const match = pattern.exec(this[on])
        if (match !== null) resume(Effect.succeed(match))
      }
      this.child[on]!.on("data", look)
      this.child.once("close", () => resume(Effect.die(new Error(`the program ended: ${this.stderr}`))))
      look()
      return Effect.sync(() => this.child[on]!.off("data", look))
    })
  }

  readonly ended: Effect.Effect<Ended> = Effect.callback((resume) => {
    const done = (code: number | null) => resume(Effect.succeed({ code, stdout: this.stdout, stderr: this.stderr }))
    // One that a signal ended has no code.
    if (this.child.exitCode !== null || this.child.signalCode !== null) done(this.child.exitCode)
    else this.child.once("close", done)
  })

  signal(name: NodeJS.Signals): Effect.Effect<void> {
    return Effect.sync(() => void this.child.kill(name))
  }
}

const started = (spawned: () => ChildProcess): Effect.Effect<Program, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => new Program(spawned())),
    ({ child }) => Effect.sync(() => child.exitCode === null && child.kill("SIGKILL"))
  )

/** Starts the program, with `input` piped in; it is killed when the scope closes, if it still runs. */
export const start = (
  args: ReadonlyArray<string>,
  env: Record<string, string> = {},
  input?: string
): Effect.Effect<Program, never, Scope.Scope> =>
  started(() => {
    const stdin = input === undefined ? "ignore" : "pipe"
    const child = spawn(process.execPath, [main, ...args], { env: environment(env), stdio: [stdin, "pipe", "pipe"] })
    child.stdin?.end(input)
    return child
  })

/** Starts the program on a terminal of its own: what it prints is its standard output, and what is written to its input is typed. */
export const startOnTerminal = (args: ReadonlyArray<string>): Effect.Effect<Program, never, Scope.Scope> =>
  started(() => {
    const line = [process.execPath, main, ...args].map((word) => `'${word}'`).join(" ")
    return spawn("script", ["--quiet", "--return", "--command", line, "/dev/null"], { env: environment({}) })
  })

/** Runs the program to its end. */
export const run = (
  args: ReadonlyArray<string>,
  env: Record<string, string> = {},
  input?: string
): Effect.Effect<Ended, never, Scope.Scope> => Effect.flatMap(start(args, env, input), (program) => program.ended)

/** Starts a gateway on a free port and waits until it listens. */
export const serve = Effect.fnUntraced(function*(env: Record<string, string> = {}) {
  const program = yield* start(["serve"], { PORT: "0", ...env })
  const [, url] = yield* program.printed(/listens on (\S+)[^]*curl .*\n/)
  return { program, url: url! }
})

/** Runs a line in a shell, as if it were pasted. */
export const shell = (line: string): Effect.Effect<Ended> =>
  Effect.callback((resume) => {
    const child = spawn("bash", ["-c", line], { stdio: ["ignore", "pipe", "pipe"] })
    let stdout = ""
    let stderr = ""
    child.stdout.setEncoding("utf8").on("data", (text: string) => stdout += text)
    child.stderr.setEncoding("utf8").on("data", (text: string) => stderr += text)
    child.once("close", (code) => resume(Effect.succeed({ code, stdout, stderr })))
  })
