/**
 * The program of a thread or a process that owns one session.
 *
 * It holds no timers and imports little, since it starts often. `run` and `create` of the runtime block it, so it reads its next message when
 * the run is over.
 */
import { join } from "node:path"
import { parentPort, Worker } from "node:worker_threads"
import * as explain from "./explain.ts"
import * as files from "./files.ts"
import { load, type Loaded } from "./loaded.ts"
import * as ocr from "./ocr.ts"
import type { FromSession, LoadOptions, ToSession, Wire } from "./protocol.ts"
import * as tasks from "./tasks.ts"
import { Told } from "./told.ts"

// The runtime does not know Float16Array yet, and takes the bits as a Uint16Array where there is none.
Reflect.deleteProperty(globalThis, "Float16Array")

const loadTask = async ({ folder, provider, task }: LoadOptions): Promise<Loaded> => {
  if (task.task === "ocr") return ocr.load(folder, provider)
  const model = await load(join(folder, "model.onnx"), provider)
  if (task.task === "tensors") return model
  return tasks.withTask(await tasks.withTokenizer(model, folder, task.maxTokens), task)
}

/** Files that change meanwhile may be others than those that were checked. */
const loadChecked = async (options: LoadOptions): Promise<Loaded> => {
  const { folder, sha256, task } = options
  const names = files.of(task.task)
  const before = files.stamp(folder, names)
  if (sha256 !== undefined) await files.check(folder, sha256)
  const model = await loadTask(options)
  if (files.stamp(folder, names) !== before) throw new Told("its files changed while they were loaded")
  return model
}

const bytesOf = ({ data }: Wire): number =>
  ArrayBuffer.isView(data) ? data.byteLength : data.reduce((sum, text) => sum + text.length, 0)

const buffersOf = (wires: Readonly<Record<string, Wire>>): Array<ArrayBuffer> => {
  const buffers = new Set<ArrayBuffer>()
  for (const { data } of Object.values(wires)) {
    if (ArrayBuffer.isView(data) && data.buffer instanceof ArrayBuffer) buffers.add(data.buffer)
  }
  return [...buffers]
}

const send = (message: FromSession): void => {
  if (parentPort === null) process.send?.(message)
  else parentPort.postMessage(message, message._tag === "Ran" ? buffersOf(message.outputs) : [])
}

const failureOf = (error: unknown, words: (text: string) => string) => {
  const text = error instanceof Error ? error.message : String(error)
  return { detail: error instanceof Told ? text : words(text), text }
}

let loaded: Loaded | undefined
let maxBytes = Infinity

const handle = async (message: ToSession): Promise<void> => {
  switch (message._tag) {
    case "Load":
      try {
        loaded = await loadChecked(message.options)
        maxBytes = message.options.maxBytes
        return send({ _tag: "Loaded", inputs: loaded.inputs, outputs: loaded.outputs })
      } catch (error) {
        return send({ _tag: "Refused", failure: failureOf(error, explain.ofLoad) })
      }
    case "Run":
      try {
        if (loaded === undefined) throw new Told("no model is loaded")
        const outputs = await loaded.run(message.feeds, message.fetches)
        const bytes = Object.values(outputs).reduce((sum, wire) => sum + bytesOf(wire), 0)
        if (bytes > maxBytes) throw new Told(`the outputs have ${bytes} bytes; at most ${maxBytes} are allowed`)
        return send({ _tag: "Ran", outputs })
      } catch (error) {
        return send({ _tag: "Failed", failure: failureOf(error, explain.ofRun) })
      }
    case "Close":
      await loaded?.release()
      parentPort?.close()
  }
}

/** One message after the other: a close waits for the load or the run before it. */
let last = Promise.resolve()
const receive = (message: ToSession): void => {
  last = last.then(() => handle(message))
}

if (parentPort === null) {
  process.on("message", receive)
  process.on("disconnect", () => process.exit())
  // A process that is busy in native code hears no disconnect. This thread ends it when its parent is gone.
  const watch = `const parent = ${process.ppid}
    setInterval(() => { if (process.ppid !== parent) process.kill(process.pid, "SIGKILL") }, 500)`
  new Worker(watch, { eval: true }).unref()
} else {
  parentPort.on("message", receive)
}
