/** Counts tokens in a thread of its own: reading the vocabulary takes a second, and a long text some tenths of one. */
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import { parentPort, workerData } from "node:worker_threads"

interface Loaded {
  readonly Tokenizer: new(tokenizer: object, config: object) => {
    readonly encode: (text: string, options: { readonly add_special_tokens: boolean }) => {
      readonly ids: ReadonlyArray<number>
    }
  }
}

const { library, vocabulary } = workerData as { readonly library: string; readonly vocabulary: string }
const { Tokenizer } = createRequire(import.meta.url)(library) as Loaded
const tokenizer = new Tokenizer(JSON.parse(Fs.readFileSync(vocabulary, "utf8")), {})

parentPort?.on("message", ({ id, texts }: { readonly id: number; readonly texts: ReadonlyArray<string> }) => {
  let tokens = 0
  for (const text of texts) tokens += tokenizer.encode(text, { add_special_tokens: false }).ids.length
  parentPort?.postMessage({ id, tokens })
})
