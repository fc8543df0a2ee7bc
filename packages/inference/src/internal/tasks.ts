/**
 * What tasks do before and after a run, in the thread of the session: texts become tokens, and outputs become vectors or scores.
 *
 * | task | inputs | outputs |
 * |---|---|---|
 * | both, with a `tokenizer.json` beside the model | `text` [batch] | |
 * | `embedding` | those of the model | `embedding` [batch, n], from the first output; with a tokenizer `tokens` [batch], how many there were |
 * | `classify` | those of the model | `scores` [batch, classes], from the first output; with labels `label` [batch], the best one |
 */
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import type { Loaded, Wires } from "./loaded.ts"
import type { TaskOptions, Wire, WirePort } from "./protocol.ts"
import { Told } from "./told.ts"

const int64 = (dims: ReadonlyArray<number>, values: ReadonlyArray<number>): Wire => ({
  type: "int64",
  dims,
  data: BigInt64Array.from(values, BigInt)
})

/** Reads texts by the `tokenizer.json` of a folder, as `text` in place of the model's inputs. */
export const withTokenizer = async (model: Loaded, folder: string, maxTokens: number): Promise<Loaded> => {
  if (!existsSync(join(folder, "tokenizer.json"))) return model
  const known = ["input_ids", "attention_mask", "token_type_ids"]
  const other = model.inputs.find(({ name }) => !known.includes(name))
  if (other !== undefined) {
    throw new Told(`the model has the input ${other.name}, which tokens of a tokenizer.json can't fill`)
  }
  const { Tokenizer } = await import("@huggingface/tokenizers").catch(() => {
    throw new Told("tokenizer.json needs the package @huggingface/tokenizers, which is not installed")
  })
  const read = (file: string) =>
    existsSync(join(folder, file)) ? JSON.parse(readFileSync(join(folder, file), "utf8")) : {}
  const make = () => {
    try {
      return new Tokenizer(read("tokenizer.json"), read("tokenizer_config.json"))
    } catch {
      throw new Told("tokenizer.json, or tokenizer_config.json, is no such file of Hugging Face")
    }
  }
  const tokenizer = make()

  /** The last token often ends the text for the model, so it stays. */
  const tokensOf = (text: string): ReadonlyArray<number> => {
    const { ids } = tokenizer.encode(text)
    return ids.length <= maxTokens ? ids : [...ids.slice(0, maxTokens - 1), ...ids.slice(-1)]
  }

  return {
    ...model,
    inputs: [{ name: "text", type: "string", shape: ["batch"] }],
    run: async ({ text }, fetches) => {
      const texts = Array.isArray(text?.data) ? text.data.map((it) => tokensOf(String(it))) : []
      const width = Math.max(1, ...texts.map(({ length }) => length))
      const dims = [texts.length, width]
      const padded = (value: (id: number) => number) =>
        int64(
          dims,
          texts.flatMap((ids) => Array.from({ length: width }, (_, at) => at < ids.length ? value(ids[at] ?? 0) : 0))
        )
      const feeds: Record<string, Wire> = {
        input_ids: padded((id) => id),
        attention_mask: padded(() => 1),
        token_type_ids: padded(() => 0)
      }
      const given = Object.fromEntries(model.inputs.flatMap(({ name }) => feeds[name] ? [[name, feeds[name]]] : []))
      const outputs = await model.run(given, fetches)
      return { ...outputs, [lengths]: int64([texts.length], texts.map(({ length }) => length)) }
    }
  }
}

/** How many tokens each text had, beside the outputs. */
const lengths = "\u0000tokens"

const float32 = (wire: Wire | undefined): Float32Array => {
  if (wire?.data instanceof Float32Array) return wire.data
  throw new Told(`the first output has elements of the type ${wire?.type ?? "none"}; the task needs float32`)
}

/** The vectors of tokens as one vector of each text. */
const pool = (wire: Wire, pooling: TaskOptions["pooling"], counts: ReadonlyArray<number> | undefined): Wire => {
  const data = float32(wire)
  const [batch = 0, tokens = 0, size = 0] = wire.dims
  if (pooling === "none") {
    if (wire.dims.length === 2) return wire
    throw new Told(
      `the first output has ${wire.dims.length} dimensions; without pooling a vector for each row is needed`
    )
  }
  if (wire.dims.length !== 3) throw new Told(`the first output has ${wire.dims.length} dimensions; pooling needs 3`)
  const pooled = new Float32Array(batch * size)
  for (let row = 0; row < batch; row++) {
    const count = pooling === "first" ? 1 : Math.min(counts?.[row] ?? tokens, tokens)
    for (let token = 0; token < count; token++) {
      for (let at = 0; at < size; at++) {
        const index = row * size + at
        pooled[index] = (pooled[index] ?? 0) + (data[(row * tokens + token) * size + at] ?? 0) / count
      }
    }
  }
  return { type: "float32", dims: [batch, size], data: pooled }
}

/** Applies a function to each row of a matrix. */
const eachRow = (wire: Wire, change: (row: Float32Array) => void): Wire => {
  const data = Float32Array.from(float32(wire))
  const [batch = 0, size = 0] = wire.dims
  for (let row = 0; row < batch; row++) change(data.subarray(row * size, (row + 1) * size))
  return { type: "float32", dims: wire.dims, data }
}

const normalize = (row: Float32Array): void => {
  const length = Math.sqrt(row.reduce((sum, value) => sum + value * value, 0))
  if (length > 0) { for (const [at, value] of row.entries()) row[at] = value / length }
}

const softmax = (row: Float32Array): void => {
  const most = Math.max(...row)
  let sum = 0
  for (const [at, value] of row.entries()) sum += row[at] = Math.exp(value - most)
  for (const [at, value] of row.entries()) row[at] = value / sum
}

const best = (scores: Wire, labels: ReadonlyArray<string>): Wire => {
  const data = float32(scores)
  const [batch = 0, size = 0] = scores.dims
  if (size !== labels.length) throw new Told(`model.yaml has ${labels.length} labels, but the output ${size} classes`)
  const names = Array.from({ length: batch }, (_, row) => {
    const values = data.subarray(row * size, (row + 1) * size)
    return labels[values.reduce((most, value, at) => value > (values[most] ?? 0) ? at : most, 0)] ?? ""
  })
  return { type: "string", dims: [batch], data: names }
}

/** Why a task can't use the first output, as far as the file says. An output whose shape the file leaves out is known by its first run. */
const misfit = ({ name, shape, type }: WirePort, { labels, pooling, task }: TaskOptions): string | undefined => {
  if (type !== "float32") return `the task ${task} needs float32; the first output ${name} has ${type}`
  if (shape.length === 0) return undefined
  const rank = task === "embedding" && pooling !== "none" ? 3 : 2
  if (shape.length !== rank) {
    const means = task === "embedding" ? ` with pooling: ${pooling}` : ""
    return `the task ${task}${means} needs ${rank} dimensions; the first output ${name} has ${shape.length}`
  }
  const size = shape.at(-1)
  return task === "classify" && labels !== undefined && typeof size === "number" && size !== labels.length
    ? `model.yaml has ${labels.length} labels, but the output ${size} classes`
    : undefined
}

/** Puts the outputs of a task in place of the model's. */
export const withTask = (model: Loaded, options: TaskOptions): Loaded => {
  const { task } = options
  if (task !== "embedding" && task !== "classify") return model
  const [first] = model.outputs
  if (first === undefined) throw new Told("the model has no output")
  const wrong = misfit(first, options)
  if (wrong !== undefined) throw new Told(wrong)
  const tokenized = model.inputs.length === 1 && model.inputs[0]?.name === "text"
  const size = first.shape.at(-1) ?? "size"
  const added = (name: string, type: string, shape: WirePort["shape"]): WirePort => ({ name, type, shape })
  const outputs = task === "embedding"
    ? [added("embedding", "float32", ["batch", size]), ...(tokenized ? [added("tokens", "int64", ["batch"])] : [])]
    : [added("scores", "float32", ["batch", size]), ...(options.labels ? [added("label", "string", ["batch"])] : [])]

  const after = (wires: Wires): Wires => {
    const output = wires[first.name]
    if (output === undefined) throw new Told("the model gave no output")
    const counts = wires[lengths]
    if (task === "classify") {
      const scores = options.softmax ? eachRow(output, softmax) : output
      return { scores, ...(options.labels && { label: best(scores, options.labels) }) }
    }
    const numbers = counts?.data instanceof BigInt64Array ? Array.from(counts.data, Number) : undefined
    const vectors = pool(output, options.pooling, numbers)
    return {
      embedding: options.normalize ? eachRow(vectors, normalize) : vectors,
      ...(counts && { tokens: counts })
    }
  }

  return {
    ...model,
    outputs,
    run: async (feeds, fetches) => {
      const all = after(await model.run(feeds, [first.name]))
      return Object.fromEntries(Object.entries(all).filter(([name]) => fetches.includes(name)))
    }
  }
}
