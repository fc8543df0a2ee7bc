import { Field, FileSource, FolderSource, NacosSource, RedisSource, Settings, ValuesSource } from "@ballast/settings"
import { assert, describe, it } from "@effect/vitest"
import { type Duration, Effect, Exit, Redacted, Schema } from "effect"
import { TestClock } from "effect/testing"
import * as Fs from "node:fs"
import { files, folderWith, until } from "./support/fixtures.ts"

const Limits = Schema.Struct({
  rate: Schema.Int,
  burst: Schema.Int.pipe(Field.withDefault(1)),
  key: Schema.optionalKey(Field.secret)
})

const start = Effect.fnUntraced(function*(texts: Record<string, string>, options?: FileSource.Options) {
  const folder = yield* folderWith(texts)
  const settings = yield* Settings.make(Limits, [FileSource.make(folder.at("app.yaml"), options)])
  const is = (rate: number) => until(Effect.map(settings.current, (value) => value.rate === rate))
  const refused = until(Effect.map(settings.status, ({ refusal }) => refusal !== undefined))
  const reason = Effect.map(
    settings.status,
    ({ refusal }) => refusal?.error.message.replaceAll(`${folder.folder}/`, "")
  )
  return { ...folder, settings, is, refused, reason }
})

/** Lets time pass, and the machine work before and after. */
const pass = (time: Duration.Input) =>
  Effect.gen(function*() {
    const work = Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
    yield* Effect.repeat(work, { times: 200 })
    yield* TestClock.adjust(time)
    yield* Effect.repeat(work, { times: 200 })
  })

describe("interval", () => {
  it.effect("is above zero, or else it is refused", () =>
    Effect.gen(function*() {
      for (const interval of [0, -1, NaN]) {
        const makes = {
          FileSource: () => FileSource.make("app.yaml", { interval }),
          FolderSource: () => FolderSource.make("settings", { interval }),
          NacosSource: () => NacosSource.make({ url: "http://center", dataId: "app.yaml", interval }),
          RedisSource: () => RedisSource.make({ connect: Effect.never, key: "app", interval })
        }
        for (const [name, make] of Object.entries(makes)) {
          assert.throws(make, RangeError, `${name}.make: interval must be a duration above zero, got ${interval}`)
        }
        const made = yield* Effect.exit(Settings.make(Limits, [ValuesSource.make({ rate: 1 })], { interval }))
        assert.isTrue(Exit.hasDies(made))
      }
    }).pipe(Effect.provide(files)))
})

describe("FileSource", () => {
  it.effect("notices a file written in place, and by rename", () =>
    Effect.gen(function*() {
      const { at, is, write } = yield* start({ "app.yaml": "rate: 1" })
      yield* write("app.yaml", "rate: 2")
      yield* is(2)
      yield* write("new", "rate: 3")
      Fs.renameSync(at("new"), at("app.yaml"))
      yield* is(3)
    }).pipe(Effect.provide(files)))

  it.effect("waits for a file that is written in two halves", () =>
    Effect.gen(function*() {
      const { is, settings, write } = yield* start({ "app.yaml": "rate: 1\nburst: 1\n" })
      yield* pass("2 seconds")
      yield* write("app.yaml", "rate: 2\n")
      // The first half is seen for less than the time that a content takes to settle.
      yield* pass("50 millis")
      yield* write("app.yaml", "rate: 2\nburst: 2\n")
      yield* is(2)
      assert.strictEqual((yield* settings.current).burst, 2)
      assert.strictEqual((yield* settings.status).revision, 2)
    }).pipe(Effect.provide(files)))

  it.effect("takes no pipe or device, whose text is gone at the next look", () =>
    Effect.gen(function*() {
      const { message } = yield* Effect.flip(Settings.make(Limits, [FileSource.make("/dev/null")]))
      assert.match(message, /^\/dev\/null: the file is no regular file: a pipe or a device can't be read again/)
    }).pipe(Effect.provide(files)))

  it.effect("keeps the settings when the file is deleted, and takes the next one", () =>
    Effect.gen(function*() {
      const { at, is, reason, refused, settings, write } = yield* start({ "app.yaml": "rate: 1" })
      Fs.rmSync(at("app.yaml"))
      yield* refused
      assert.strictEqual(yield* reason, "app.yaml: the file does not exist")
      assert.strictEqual((yield* settings.current).rate, 1)
      yield* write("app.yaml", "rate: 2")
      yield* is(2)
      assert.isUndefined(yield* reason)
    }).pipe(Effect.provide(files)))

  it.effect("keeps the settings when the file is cut to nothing, as on a full disk", () =>
    Effect.gen(function*() {
      const { is, reason, refused, settings, write } = yield* start({ "app.yaml": "rate: 1" })
      yield* write("app.yaml", "")
      yield* refused
      assert.strictEqual(yield* reason, "app.yaml: the file has become empty; write {} for no settings")
      assert.strictEqual((yield* settings.current).rate, 1)
      yield* write("app.yaml", "rate: 2")
      yield* is(2)
    }).pipe(Effect.provide(files)))

  it.effect("keeps the settings when an optional file is deleted", () =>
    Effect.gen(function*() {
      const { at, reason, refused, settings } = yield* start({ "app.yaml": "rate: 1" }, { optional: true })
      Fs.rmSync(at("app.yaml"))
      yield* refused
      assert.strictEqual((yield* reason)?.endsWith("app.yaml: the settings were there and are gone"), true)
      assert.strictEqual((yield* settings.current).rate, 1)
    }).pipe(Effect.provide(files)))

  it.effect("keeps the settings when the file becomes unreadable", () =>
    Effect.gen(function*() {
      const { at, is, reason, refused, settings } = yield* start({ "app.yaml": "rate: 1" })
      // The tests may run as root, whom modes do not stop: a loop of links can be read by no user.
      Fs.rmSync(at("app.yaml"))
      Fs.symlinkSync("app.yaml", at("app.yaml"))
      yield* refused
      assert.match((yield* reason) ?? "", /^app.yaml: the file cannot be read/)
      assert.strictEqual((yield* settings.current).rate, 1)
      Fs.rmSync(at("app.yaml"))
      Fs.writeFileSync(at("app.yaml"), "rate: 2")
      yield* is(2)
    }).pipe(Effect.provide(files)))

  it.effect("keeps the settings when the file becomes wrong, and warns once", () =>
    Effect.gen(function*() {
      const { is, reason, refused, write } = yield* start({ "app.yaml": "rate: 1" })
      yield* write("app.yaml", "rate: [")
      yield* refused
      assert.match((yield* reason) ?? "", /^app.yaml:1:8: syntax: /)
      yield* write("app.yaml", "rate: 2")
      yield* is(2)
    }).pipe(Effect.provide(files)))

  it.effect("notices a change whose time stamp lies in the past and whose size is the same", () =>
    Effect.gen(function*() {
      const { at, is, write } = yield* start({ "app.yaml": "rate: 1" })
      yield* write("app.yaml", "rate: 2")
      Fs.utimesSync(at("app.yaml"), 1, 1)
      yield* is(2)
      yield* write("app.yaml", "rate: 3")
      Fs.utimesSync(at("app.yaml"), 1, 1)
      yield* is(3)
    }).pipe(Effect.provide(files)))

  it.effect("notices a rotated secret behind ${file:PATH}", () =>
    Effect.gen(function*() {
      const { settings, write } = yield* start({ "app.yaml": "rate: 1\nkey: ${file:key}", key: "one\n" })
      const key = Effect.map(settings.current, ({ key }) => key && Redacted.value(key))
      assert.strictEqual(yield* key, "one")
      yield* write("key", "two\n")
      yield* until(Effect.map(key, (key) => key === "two"))
      assert.notInclude(JSON.stringify(yield* settings.current), "two")
    }).pipe(Effect.provide(files)))
})

/** What the kubelet does: a folder of its own for each version, `..data` links to it, and each file links through `..data`. */
const mount = (folder: string, version: number, texts: Record<string, string>) => {
  const next = `${folder}/..version_${version}`
  Fs.mkdirSync(next)
  for (const [name, text] of Object.entries(texts)) {
    Fs.writeFileSync(`${next}/${name}`, text)
    if (version === 1) Fs.symlinkSync(`..data/${name}`, `${folder}/${name}`)
  }
  Fs.symlinkSync(`..version_${version}`, `${folder}/..data_tmp`)
  Fs.renameSync(`${folder}/..data_tmp`, `${folder}/..data`)
  Fs.rmSync(`${folder}/..version_${version - 1}`, { recursive: true, force: true })
}

describe("mounted ConfigMap", () => {
  it.effect("is read file by file, and its swap is one change", () =>
    Effect.gen(function*() {
      const { folder } = yield* folderWith({})
      mount(folder, 1, { "a.yaml": "rate: 1\nburst: 9", burst: "5\n", key: "one" })
      const settings = yield* Settings.make(Limits, [FolderSource.make(folder)])
      const { burst, key, rate } = yield* settings.current
      assert.deepStrictEqual([rate, burst, key && Redacted.value(key)], [1, 5, "one"])
      mount(folder, 2, { "a.yaml": "rate: 2", burst: "6", key: "two" })
      yield* until(Effect.map(settings.current, ({ rate }) => rate === 2))
      assert.strictEqual((yield* settings.current).burst, 6)
      assert.strictEqual((yield* settings.status).revision, 2)
    }).pipe(Effect.provide(files)))

  it.effect("changes a file that is mounted through it", () =>
    Effect.gen(function*() {
      const { folder } = yield* folderWith({})
      mount(folder, 1, { "app.yaml": "rate: 1" })
      const settings = yield* Settings.make(Limits, [FileSource.make(`${folder}/app.yaml`)])
      mount(folder, 2, { "app.yaml": "rate: 2" })
      yield* until(Effect.map(settings.current, ({ rate }) => rate === 2))
    }).pipe(Effect.provide(files)))

  it.effect("is refused when a value is wrong, by the name of its file", () =>
    Effect.gen(function*() {
      const { at, folder } = yield* folderWith({ rate: "fast" })
      const error = yield* Effect.flip(Settings.make(Limits, [FolderSource.make(folder)]))
      assert.strictEqual(
        error.message,
        `${at("rate")}: rate: found the text of ${at("rate")}, expected a whole number`
      )
    }).pipe(Effect.scoped, Effect.provide(files)))
})
