import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import * as Fs from "node:fs"
import { connect, createServer } from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { setTimeout as sleep } from "node:timers/promises"

const root = Path.resolve(import.meta.dirname, "../..")

export const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const address = server.address()
  server.close()
  await once(server, "close")
  if (address === null || typeof address === "string") throw new Error("The system gave no port")
  return address.port
}

const listens = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1")
    socket.once("connect", () => {
      socket.destroy()
      resolve(true)
    })
    socket.once("error", () => resolve(false))
  })

/** A process of ours, with one question and one answer at a time. */
export interface Child {
  readonly ask: <A>(message: object) => Promise<A>
  readonly stop: () => Promise<void>
}

const child = (name: string, process: ChildProcess): Child => {
  const exited = once(process, "exit")
  return {
    ask: async <A>(message: object) => {
      process.send(message)
      const answer: unknown = await Promise.race([
        once(process, "message").then(([answer]) => answer),
        exited.then(() => Promise.reject(new Error(`${name} has ended`)))
      ])
      return answer as A // what our own scripts send
    },
    stop: async () => {
      process.kill()
      await exited
    }
  }
}

/** Starts a script that answers questions, with options of `node` itself. */
export const startWorker = (
  name: string,
  script: string,
  args: ReadonlyArray<string>,
  execArgv: ReadonlyArray<string>
): Child => child(name, fork(Path.join(import.meta.dirname, script), args, { cwd: root, execArgv: [...execArgv] }))

/** A server of its own process, whose CPU time can be read. */
export interface Server extends Child {
  readonly url: string
  /** Microseconds since its start. */
  readonly cpu: () => Promise<number>
  /** Bytes in memory. */
  readonly memory: () => Promise<number>
}

/** Starts a script that listens on `PORT`, and waits until it does. */
export const startServer = async (script: string, options?: {
  /** Default one that is free. */
  readonly port?: number | undefined
  readonly args?: ReadonlyArray<string>
  readonly env?: NodeJS.ProcessEnv
  /** Whether standard error is left unread once it listens. */
  readonly unread?: boolean
}): Promise<Server> => {
  const port = options?.port ?? await freePort()
  // A ledger that grew from run to run would make each dearer than the one before.
  const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "bench-"))
  const started = fork(Path.join(root, script), options?.args, {
    cwd: root,
    env: {
      ...process.env,
      BALLAST_DATABASE: Path.join(folder, "ballast.db"),
      ...options?.env,
      PORT: `${port}`
    },
    execArgv: ["--import", Path.join(import.meta.dirname, "cpu.ts")],
    stdio: ["ignore", "ignore", "pipe", "ipc"]
  })
  let log = ""
  const collect = (text: Buffer) => {
    log += text
  }
  started.stderr?.on("data", collect)
  const server = child(script, started)
  for (let tries = 0; !await listens(port); tries++) {
    if (tries === 2400 || started.exitCode !== null) throw new Error(`${script} does not listen: ${log}`)
    await sleep(25)
  }
  started.stderr?.off("data", collect)
  if (options?.unread === true) started.stderr?.pause()
  else started.stderr?.resume()
  return {
    ...server,
    stop: async () => {
      await server.stop()
      Fs.rmSync(folder, { recursive: true })
    },
    url: `http://127.0.0.1:${port}`,
    cpu: async () => {
      const { system, user } = await server.ask<NodeJS.CpuUsage>({})
      return system + user
    },
    memory: async () => (await server.ask<{ readonly rss: number }>({})).rss
  }
}
