import { spawn } from "node:child_process"
import * as Path from "node:path"
import { freePort } from "./freePort.ts"
import { root } from "./snippets.ts"

/** The environment without the settings that would lead a program out of the machine. */
export const localEnvironment = (): NodeJS.ProcessEnv => {
  const {
    BALLAST_CLIENT_KEYS: _,
    DEEPSEEK_API_KEY: __,
    DEEPSEEK_BASE_URL: ___,
    HOST: ____,
    PORT: _____,
    ...environment
  } = process.env
  return { ...environment, BALLAST_DATABASE: ":memory:" }
}

/** What runs the `ballast` program from its sources. */
export const ballast = Path.join(root, "packages/gateway/src/main.ts")

/** A running `ballast serve` or `ballast simulate`. */
export interface Program {
  readonly port: number
  readonly stop: () => Promise<void>
}

/** Starts `ballast serve` or `ballast simulate` on a free port and waits for its start-up text. */
export const startBallast = async (
  subcommand: "serve" | "simulate",
  flags: ReadonlyArray<string> = []
): Promise<Program> => {
  const port = await freePort()
  const options = { cwd: root, env: localEnvironment() }
  const program = spawn(process.execPath, [ballast, subcommand, "--port", `${port}`, ...flags], options)
  const exited = new Promise<void>((resolve) => program.once("close", () => resolve()))
  let output = ""
  await new Promise<void>((resolve, reject) => {
    const read = (text: string) => {
      output += text
      if (output.includes(`http://127.0.0.1:${port}`)) resolve()
    }
    program.stdout.setEncoding("utf8").on("data", read)
    program.stderr.setEncoding("utf8").on("data", read)
    program.once("close", () => reject(new Error(`ballast ${subcommand} did not start:\n${output}`)))
  })
  return {
    port,
    stop: () => {
      program.kill("SIGTERM")
      return exited
    }
  }
}
