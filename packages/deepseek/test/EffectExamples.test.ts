/** Effect's own examples of its AI modules, as the package has them, on our layer. */
import { assert, describe, it } from "@effect/vitest"
import { type Context, Effect, type Layer, Stream } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll } from "vitest"

const examples = fileURLToPath(new URL("../../../node_modules/effect/ai-docs/src/71_ai", import.meta.url))
const folder = Path.join(import.meta.dirname, `../.snippets-${process.pid}`)
const ours = Path.join(import.meta.dirname, "support/otherProviders.ts")

interface Example<Shape> extends Context.Service<unknown, Shape> {
  readonly layer: Layer.Layer<unknown>
}

interface AiWriter {
  readonly draftAnnouncement: (product: string) => Effect.Effect<{ readonly provider: string; readonly text: string }>
  readonly extractLaunchPlan: (notes: string) => Effect.Effect<object>
  readonly streamReleaseHighlights: (version: string) => Stream.Stream<string>
}

interface ProductAssistant {
  readonly answer: (question: string) => Effect.Effect<{ readonly text: string; readonly toolCallCount: number }>
}

interface AiAssistant {
  readonly chat: (message: string) => Effect.Effect<string>
  readonly agent: (question: string) => Effect.Effect<string>
}

const load = <Shape>(file: string, name: string): Effect.Effect<Example<Shape>> =>
  Effect.map(Effect.promise(() => import(Path.join(folder, file))), (module) => module[name])

describe("Effect's examples", () => {
  beforeAll(() => {
    Fs.cpSync(examples, folder, { recursive: true })
    for (const file of Fs.readdirSync(folder).filter((file) => file.endsWith(".ts"))) {
      const path = Path.join(folder, file)
      Fs.writeFileSync(path, Fs.readFileSync(path, "utf8").replaceAll(/"@effect\/ai-\w+"/g, JSON.stringify(ours)))
    }
  })
  afterAll(() => Fs.rmSync(folder, { recursive: true }))

  it.effect("texts, objects and streams", () =>
    Effect.gen(function*() {
      const Writer = yield* load<AiWriter>("10_language-model.ts", "AiWriter")
      const { draft, highlights, plan } = yield* Effect.provide(
        Effect.gen(function*() {
          const writer = yield* Writer
          return {
            draft: yield* writer.draftAnnouncement("Ballast"),
            plan: yield* writer.extractLaunchPlan("For operators, on Monday, by mail. Risk: rain."),
            highlights: yield* Stream.mkString(writer.streamReleaseHighlights("1.0"))
          }
        }),
        Writer.layer
      )
      assert.strictEqual(draft.provider, "deepseek")
      assert.isNotEmpty(draft.text)
      assert.hasAllKeys(plan, ["audience", "channels", "launchDate", "summary", "keyRisks"])
      assert.isNotEmpty(highlights)
    }))

  it.effect("tools", () =>
    Effect.gen(function*() {
      const Assistant = yield* load<ProductAssistant>("20_tools.ts", "ProductAssistant")
      const answer = Effect.flatMap(Assistant, ({ answer }) => answer("SearchProducts and GetInventory, please"))
      assert.deepStrictEqual((yield* Effect.provide(answer, Assistant.layer)).toolCallCount, 2)
    }))

  it.effect("chats and agents", () =>
    Effect.gen(function*() {
      const Assistant = yield* load<AiAssistant>("30_chat.ts", "AiAssistant")
      const texts = Effect.flatMap(Assistant, ({ agent, chat }) =>
        Effect.all([chat("Hello"), chat("Again"), agent("What time?")]))
      for (const text of yield* Effect.provide(texts, Assistant.layer)) {
        assert.isNotEmpty(text)
      }
    }))
})
