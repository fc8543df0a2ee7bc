import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { eventually, hello, post, send } from "./harness.ts"
import { run, serve, shell, start, startOnTerminal } from "./program.ts"

const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"))

const curlOf = (text: string) => /^ +(curl .*)$/m.exec(text)![1]!

/** One line for a person, and nothing of the program's inside. */
const assertOneLine = (stderr: string, pattern: RegExp) => {
  assert.match(stderr, pattern)
  assert.match(stderr, /^ballast: [^\n]+\n$/)
}

const chat = "/v1/chat/completions"

/** A port that another program listens on, until the scope closes. */
const takenPort = Effect.gen(function*() {
  const other = createServer()
  yield* Effect.addFinalizer(() => Effect.sync(() => other.close()))
  return yield* Effect.callback<number>((resume) => {
    other.listen(0, "127.0.0.1", () => resume(Effect.succeed((other.address() as AddressInfo).port)))
  })
})

const freePort = Effect.scoped(takenPort)

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "ballast-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true }))
)

describe("ballast", { timeout: 60_000 }, () => {
  describe("serve", () => {
    it.live("says where it listens, what answers, and how to try it", () =>
      Effect.gen(function*() {
        const { program, url } = yield* serve()
        assert.match(url, /^http:\/\/127\.0\.0\.1:\d+$/)
        assert.include(program.stdout, "SIMULATOR")
        const pasted = yield* shell(curlOf(program.stdout))
        assert.strictEqual(pasted.code, 0, pasted.stderr)
        assert.isNotEmpty(JSON.parse(pasted.stdout).choices[0].message.content)
        yield* program.signal("SIGINT")
        assert.strictEqual((yield* program.ended).code, 0)
      }).pipe(Effect.scoped))

    it.live("serves the network with client keys, and shows none of them", () =>
      Effect.gen(function*() {
        const { program } = yield* serve({ HOST: "0.0.0.0", BALLAST_CLIENT_KEYS: "key-of-alice" })
        const curl = curlOf(program.stdout)
        assert.notInclude(program.stdout + program.stderr, "key-of-alice")
        assert.include((yield* shell(curl)).stdout, "invalid_api_key")
        const answer = yield* shell(curl.replace("YOUR_CLIENT_KEY", "key-of-alice"))
        assert.include(answer.stdout, "chat.completion")
      }).pipe(Effect.scoped))

    it.live("talks to the service that the environment names", () =>
      Effect.gen(function*() {
        const simulator = yield* start(["simulate", "--port", "0", "--latency", "0", "--ttft", "0", "--tps", "100000"])
        const [, base] = yield* simulator.printed(/on (http:\S+)\. /)
        const { program, url } = yield* serve({ DEEPSEEK_API_KEY: "sk-0123456789", DEEPSEEK_BASE_URL: base! })
        assert.include(program.stdout, `DeepSeek at ${base}`)
        const answer = yield* post(url + chat, hello)
        assert.deepStrictEqual([answer.status, answer.headers.get("x-ballast-upstream")], [200, "deepseek"])
        // A service other than a simulator never sees its clients' headers.
        assert.strictEqual((yield* post(url + chat, hello, { "x-simulate": "status=402" })).status, 200)
        assert.notInclude(program.stdout + program.stderr, "0123456789")
      }).pipe(Effect.scoped))

    it.live("lets a simulator behind it break on demand, with --forward-simulate", () =>
      Effect.gen(function*() {
        const simulator = yield* start(["simulate", "--port", "0", "--reply", "Aye."])
        const [, base] = yield* simulator.printed(/on (http:\S+)\. /)
        const program = yield* start(["serve", "--port", "0", "--forward-simulate"], {
          DEEPSEEK_API_KEY: "sk-any",
          DEEPSEEK_BASE_URL: base!
        })
        const [, url] = yield* program.printed(/listens on (\S+) /)
        assert.strictEqual((yield* post(url + chat, hello, { "x-simulate": "status=402" })).status, 402)
        assert.strictEqual((yield* post(url + chat, hello)).json.choices[0].message.content, "Aye.")
        yield* eventually(Effect.sync(() => simulator.stderr.includes("\"x_simulate\":\"status=402\"")))
      }).pipe(Effect.scoped))

    it.live("shows faults one after the other without opening a circuit", () =>
      Effect.gen(function*() {
        const { url } = yield* serve()
        // Fifteen attempts fail within the window of the circuit breaker, and the next ones succeed.
        const faults = Array.from({ length: 15 }, (_, i) => `status=503, times=1, id=${i}`)
        const answers = yield* Effect.forEach(
          faults,
          (fault) => post(url + chat, hello, { "x-simulate": fault }),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(new Set(answers.map(({ status }) => status)), new Set([200]))
      }).pipe(Effect.scoped))

    it.live("logs one line of JSON per request on standard error", () =>
      Effect.gen(function*() {
        const { program, url } = yield* serve()
        yield* post(url + chat, hello)
        yield* eventually(Effect.sync(() => program.stderr.includes("\n")))
        const line = JSON.parse(program.stderr)
        assert.strictEqual(line.path, chat)
        assert.notInclude(program.stdout, "\"time\"")
      }).pipe(Effect.scoped))

    it.live("goes on when nobody reads its log any more", () =>
      Effect.gen(function*() {
        const { program, url } = yield* serve()
        const running = yield* Effect.forkChild(
          post(url + chat, { ...hello, stream: true }, { "x-simulate": "tps=60, tokens=60" })
        )
        yield* eventually(
          Effect.map(send(`${url}/metrics`), ({ text }) => /^http_server_active_requests 2$/m.test(text))
        )
        program.child.stdout!.destroy()
        program.child.stderr!.destroy()
        for (let i = 0; i < 3; i++) assert.strictEqual((yield* send(`${url}/v1/models`)).status, 200)
        assert.match((yield* Fiber.join(running)).text, /data: \[DONE\]\n\n$/)
        yield* program.signal("SIGTERM")
        assert.strictEqual((yield* program.ended).code, 0)
      }).pipe(Effect.scoped))

    it.live.each([["serve", "/healthz"], ["simulate", "/models"]] as const)(
      "goes on when nobody reads how it starts: %s",
      ([command, path]) =>
        Effect.gen(function*() {
          const port = yield* freePort
          const program = yield* start([command, "--port", String(port)], { BALLAST_LOG_LEVEL: "warn" })
          program.child.stdout!.destroy()
          const answered = Effect.promise(() =>
            fetch(`http://127.0.0.1:${port}${path}`).then((response) => response.text().then(() => true), () => false)
          )
          yield* Effect.raceFirst(eventually(answered), program.ended)
          assert.isTrue(yield* answered)
          yield* program.signal("SIGTERM")
          assert.deepInclude(yield* program.ended, { code: 0, stderr: "" })
        }).pipe(Effect.scoped)
    )

    it.live.each(["0.0.0.0", "::", "192.168.77.77"])(
      "refuses to serve the network without client keys: %s",
      (host) =>
        Effect.gen(function*() {
          const { code, stderr, stdout } = yield* run(["serve"], { HOST: host, PORT: "0" })
          assert.strictEqual(code, 1)
          assert.strictEqual(stdout, "")
          assertOneLine(stderr, /BALLAST_CLIENT_KEYS/)
        }).pipe(Effect.scoped)
    )

    it.live("follows its file, rereads it on SIGHUP, and says what has to wait for a restart", () =>
      Effect.gen(function*() {
        const file = `${yield* folder}/ballast.yaml`
        writeFileSync(file, "clients: { alice: { keys: [ first ] } }\nlog: { format: json }\n")
        const program = yield* start(["serve", "--config", file, "--port", "0"])
        const [, url] = yield* program.printed(/listens on (\S+) /)
        const ask = (key: string) => post(url + chat, hello, { authorization: `Bearer ${key}` })
        assert.strictEqual((yield* ask("first")).status, 200)
        writeFileSync(
          file,
          "clients: { alice: { keys: [ second ] } }\nlisten: { host: 127.0.0.2 }\nredis: { url: \"redis://127.0.0.1:1\" }\ntelemetry: { serviceName: b }\n"
        )
        yield* program.signal("SIGHUP")
        yield* eventually(Effect.map(ask("second"), ({ status }) => status === 200))
        assert.strictEqual((yield* ask("first")).status, 401)
        yield* eventually(Effect.sync(() => program.stderr.includes("\"restart needed\"")))
        assert.include(program.stderr, "[\"listen.host\",\"redis\",\"telemetry\"]")
        writeFileSync(file, "clients: { alice: { keys: [ third ] } }\nlisten: { prot: 1 }\n")
        yield* eventually(Effect.sync(() => program.stderr.includes("settings refused")))
        const ready = yield* send(`${url}/readyz`, { headers: { authorization: "Bearer second" } })
        assert.deepInclude(ready.json.settings, { revision: 2 })
        assert.deepStrictEqual(
          ready.json.settings.refused.problems,
          [`${file}:2:11: listen.prot: unknown key; did you mean port?`]
        )
        assert.isTrue((yield* send(`${url}/readyz`)).json.settings.refused)
      }).pipe(Effect.scoped))

    it.live("sends telemetry where the settings say, unless a variable says otherwise", () =>
      Effect.gen(function*() {
        const collector = Effect.gen(function*() {
          const seen: Array<string> = []
          const server = createServer((request, response) => {
            const { authorization, host } = request.headers
            request.resume().on("end", () => {
              seen.push(`${request.url} ${authorization}`)
              response.end(host)
            })
          })
          yield* Effect.acquireRelease(
            Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
            () => Effect.sync(() => server.close().closeAllConnections())
          )
          return { seen, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
        })
        const [named, other] = yield* Effect.all([collector, collector])
        const file = `${yield* folder}/ballast.yaml`
        writeFileSync(
          file,
          `telemetry: { endpoint: "${named.url}", headers: { authorization: "\${env:TOKEN}" }, metricsExporter: none }\n`
        )
        const served = Effect.fnUntraced(function*(env: Record<string, string>) {
          const program = yield* start(["serve", "--config", file, "--port", "0"], { TOKEN: "Basic a=, b", ...env })
          const [, url] = yield* program.printed(/listens on (\S+) /)
          assert.strictEqual((yield* post(url + chat, hello)).status, 200)
          yield* program.signal("SIGTERM")
          yield* program.ended
        })
        yield* served({})
        assert.deepStrictEqual(new Set(named.seen), new Set(["/v1/traces Basic a=, b", "/v1/logs Basic a=, b"]))
        const before = named.seen.length
        yield* served({ OTEL_EXPORTER_OTLP_ENDPOINT: other.url, OTEL_EXPORTER_OTLP_HEADERS: "authorization=other" })
        assert.strictEqual(named.seen.length, before)
        assert.deepStrictEqual(new Set(other.seen), new Set(["/v1/traces other", "/v1/logs other"]))
      }).pipe(Effect.scoped))

    it.live("says so when the port is in use", () =>
      Effect.gen(function*() {
        const port = yield* takenPort
        const { code, stderr } = yield* run(["serve", "--port", String(port)])
        assert.strictEqual(code, 1)
        assertOneLine(stderr, new RegExp(`Port ${port} on 127\\.0\\.0\\.1 is in use`))
      }).pipe(Effect.scoped))

    it.live.each(
      [
        [{ PORT: "abc" }, /PORT is "abc"\. Expected a whole number from 0 to 65535/],
        [{ BALLAST_LOG_LEVEL: "loud" }, /BALLAST_LOG_LEVEL is "loud"\. Expected one of trace, debug/],
        [{ DEEPSEEK_BASE_URL: "nowhere" }, /DEEPSEEK_BASE_URL is "nowhere"\. Expected an http or https URL/],
        [
          { HOST: "no-such-host.invalid", BALLAST_CLIENT_KEYS: "k" },
          /no-such-host\.invalid is not an address of this machine/
        ],
        [{ OTEL_EXPORTER_OTLP_ENDPOINT: "nowhere" }, /OTEL_EXPORTER_OTLP_ENDPOINT/]
      ] as const
    )("names the wrong setting: %j", ([env, pattern]) =>
      Effect.gen(function*() {
        const { code, stderr } = yield* run(["serve"], { PORT: "0", ...env })
        assert.strictEqual(code, 1)
        assertOneLine(stderr, pattern)
      }).pipe(Effect.scoped))
  })

  describe("files", () => {
    it.live.each(
      [
        [["import", "."], ". can not be read: it is a folder."],
        [["workflow", "check", "none.yaml"], "none.yaml can not be read: there is no such file or folder."],
        [["init", "--config", "/none/x.yaml"], "/none/x.yaml can not be written: there is no such file or folder."]
      ] as const
    )("that can't be used are told with the reason: %j", ([args, text]) =>
      Effect.gen(function*() {
        const { code, stderr } = yield* run(args)
        assert.deepStrictEqual([code, stderr], [1, `ballast: ${text}\n`])
      }).pipe(Effect.scoped))
  })

  describe("settings", () => {
    it.live("init writes a file that check accepts, and overwrites none", () =>
      Effect.gen(function*() {
        const file = `${yield* folder}/ballast.yaml`
        const written = yield* run(["init", "--config", file])
        assert.deepStrictEqual([written.code, written.stderr], [0, ""])
        const checked = yield* run(["check", "--config", file], { DEEPSEEK_API_KEY: "sk-secret", PORT: "9000" })
        assert.deepStrictEqual([checked.code, checked.stderr], [0, ""])
        assert.match(
          checked.stdout,
          /^# In force, from \S+ballast\.yaml, environment:\nlisten:\n {2}host: 127\.0\.0\.1\n {2}port: 9000\n/
        )
        assert.include(checked.stdout, "apiKey: <redacted>")
        const again = yield* run(["init", "--config", file])
        assert.strictEqual(again.code, 1)
        assertOneLine(again.stderr, /exists already, and is left as it is/)
      }).pipe(Effect.scoped))

    it.live("check says what is wrong and where", () =>
      Effect.gen(function*() {
        const file = `${yield* folder}/ballast.yaml`
        writeFileSync(file, "listen: { port: lots }\n")
        const { code, stderr, stdout } = yield* run(["check", "--config", file])
        assert.deepStrictEqual([code, stdout], [1, ""])
        assert.strictEqual(
          stderr,
          `ballast: ${file}:1:17: listen.port: found "lots", expected a whole number from 0 to 65535\n`
        )
        const missing = yield* run(["check", "--config", file, "--profile", "prod"])
        assert.match(missing.stderr, /ballast\.prod\.yaml: the file does not exist\n$/)
      }).pipe(Effect.scoped))

    it.live("check names no file that is not there", () =>
      Effect.gen(function*() {
        const { stdout } = yield* run(["check"])
        assert.match(stdout, /^# In force, from defaults \(there is no ballast\.yaml here\), environment:\n/)
      }).pipe(Effect.scoped))

    it.live("schema prints a JSON Schema of the file", () =>
      Effect.gen(function*() {
        const { code, stdout } = yield* run(["schema"])
        assert.strictEqual(code, 0)
        const { properties } = JSON.parse(stdout)
        assert.deepInclude(properties.listen.properties.port.anyOf[0], { type: "integer", minimum: 0, maximum: 65_535 })
      }).pipe(Effect.scoped))
  })

  describe("chat", () => {
    it.live("writes the answer to a pipe, and the thoughts beside it", () =>
      Effect.gen(function*() {
        const { code, stderr, stdout } = yield* run(["chat", "Why does a ship carry ballast?"])
        assert.strictEqual(code, 0)
        assert.isNotEmpty(stdout.trim())
        assert.include(stderr, "simulator")
        assert.isAbove(stderr.trim().split("\n").length, 1)
        assert.notInclude(stdout + stderr, "\x1b")
        const silent = yield* run(["chat", "--hide-thinking", "Why does a ship carry ballast?"])
        assert.strictEqual(silent.stdout, stdout)
        assert.strictEqual(silent.stderr.trim().split("\n").length, 1)
      }).pipe(Effect.scoped))

    it.live.each(
      [
        [["chat"], "Why does a ship carry ballast?\n"],
        [["chat", "Why", "does a ship"], "carry ballast?"],
        [["chat", "Why does a ship carry ballast?"], ""]
      ] as const
    )("takes its prompt from arguments, from a pipe, or from both: %j", ([args, input]) =>
      Effect.gen(function*() {
        const { code, stderr, stdout } = yield* run([...args, "--no-thinking"], {}, input)
        assert.strictEqual(code, 0, stderr)
        assert.match(stdout, /ship|ballast/i)
      }).pipe(Effect.scoped))

    it.live("says what to do when there is no prompt", () =>
      Effect.gen(function*() {
        for (const input of [undefined, " \n"]) {
          const { code, stderr, stdout } = yield* run(["chat"], {}, input)
          assert.deepStrictEqual([code, stdout], [1, ""])
          assertOneLine(stderr, /nothing to ask/)
        }
      }).pipe(Effect.scoped))

    it.live("asks through a gateway, without thoughts, in a role", () =>
      Effect.gen(function*() {
        const { url } = yield* serve()
        const { code, stderr, stdout } = yield* run([
          "chat",
          "--no-thinking",
          "-s",
          "Be brief.",
          "--base-url",
          url,
          "Hello"
        ])
        assert.deepStrictEqual([code, stderr], [0, ""])
        assert.isNotEmpty(stdout.trim())
      }).pipe(Effect.scoped))

    it.live("says in one line why there is no answer", () =>
      Effect.gen(function*() {
        const { url } = yield* serve()
        const { code, stderr, stdout } = yield* run(["chat", "-m", "gpt-4", "--base-url", url, "Hello"])
        assert.strictEqual(code, 1)
        assert.strictEqual(stdout.trim(), "")
        assertOneLine(stderr, /does not know this model|gpt-4/)
      }).pipe(Effect.scoped))

    it.live("what a model writes does nothing to a terminal, and comes through a pipe as it is", () =>
      Effect.gen(function*() {
        const content = "calm\x1b[2J\x9b1A\x07\nseas"
        const service = createServer((_, response) => {
          const chunk = { id: "1", object: "chat.completion.chunk", created: 1, model: "m" }
          const choice = { index: 0, delta: { role: "assistant", content }, finish_reason: "stop" }
          response.writeHead(200, { "content-type": "text/event-stream" })
          response.end(`data: ${JSON.stringify({ ...chunk, choices: [choice] })}\n\ndata: [DONE]\n\n`)
        })
        yield* Effect.addFinalizer(() => Effect.sync(() => service.close()))
        yield* Effect.callback<void>((resume) => void service.listen(0, "127.0.0.1", () => resume(Effect.void)))
        const { port } = service.address() as AddressInfo
        const args = ["chat", "--base-url", `http://127.0.0.1:${port}`, "Hello"]
        const terminal = yield* Effect.flatMap(startOnTerminal(args), ({ ended }) => ended)
        assert.include(terminal.stdout, "calm[2J1A\r\nseas")
        assert.strictEqual((yield* run(args)).stdout, `${content}\n`)
      }).pipe(Effect.scoped))

    it.live("ends quietly when its reader has seen enough", () =>
      Effect.gen(function*() {
        const { url } = yield* serve()
        const program = yield* start(["chat", "--hide-thinking", "--base-url", url, "Hello"])
        program.child.stdout!.destroy()
        const { code, stderr } = yield* program.ended
        assert.deepStrictEqual([code, stderr], [0, ""])
      }).pipe(Effect.scoped))
  })

  describe("arguments", () => {
    it.live.each(
      [
        [
          ["serve", "--port", "abc"],
          "--port is \"abc\". Expected a whole number from 0 to 65535, for example --port 8787."
        ],
        [["serve", "--port", "1", "--port", "2"], "--port is given 2 times."],
        [["serve", "--prot", "1"], "ballast serve has no flag --prot. Did you mean --port?"],
        [["serve", "now"], "ballast serve takes no \"now\"."],
        [["srve"], "ballast has no command \"srve\". Did you mean serve?"],
        [["simulate", "--tps", "0"], "--tps is \"0\". Expected a number above 0, for example --tps 30."],
        [["srve", "--help"], "ballast has no command \"srve\". Did you mean serve?"],
        [["serve", "--config", ""], "--config has no value."],
        [["compare", "control"], "<b> is missing."],
        [["admin", "weight", "m", "t", "much"], "<weight> is \"much\". Expected a number."],
        [["chat", "--thinking=maybe", "x"], "--thinking is \"maybe\". Expected \"true\""]
      ] as const
    )("that are wrong are one line, like a wrong setting: %j", ([args, text]) =>
      Effect.gen(function*() {
        const { code, stderr, stdout } = yield* run(args)
        assert.deepStrictEqual([code, stdout], [1, ""])
        assertOneLine(stderr, /See ballast( [a-z]+)* --help\./)
        assert.include(stderr, text)
      }).pipe(Effect.scoped))
  })

  describe("help", () => {
    it.live.each(["help", "help serve", "version"])("as a command: %s", (line) =>
      Effect.gen(function*() {
        const { code, stderr, stdout } = yield* run(line.split(" "))
        assert.deepStrictEqual([code, stderr], [0, ""])
        assert.include(stdout, { help: "SUBCOMMANDS", "help serve": "BALLAST_CLIENT_KEYS" }[line] ?? version)
      }).pipe(Effect.scoped))

    it.live.each(["serve", "simulate", "chat"])(
      "%s: with examples and environment",
      (command) =>
        Effect.gen(function*() {
          const { code, stdout } = yield* run([command, "--help"])
          assert.strictEqual(code, 0)
          assert.include(stdout, "EXAMPLES")
          assert.include(stdout, "Environment:")
        }).pipe(Effect.scoped)
    )

    it.live("the version of the package", () =>
      Effect.gen(function*() {
        const { stdout } = yield* run(["--version"])
        assert.include(stdout, version)
      }).pipe(Effect.scoped))
  })
})
