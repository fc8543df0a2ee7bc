/**
 * The definitions of a program's runs: each text is read once. Services with the same name and settings are the same one, so their policies
 * hold for the runs of all definitions together; they are called by the first workflow that had them.
 */
import * as Effect from "effect/Effect"
import * as Definition from "../Definition.ts"
import type * as Service from "../Service.ts"
import type { Handles } from "./handles.ts"
import * as Services from "./services/make.ts"

export interface Options extends Service.Parts {
  readonly handles: Handles
  readonly services?: Readonly<Record<string, Service.Service>> | undefined
}

/** Definitions and services that are kept: those that were used last. */
const capacity = { definitions: 100, services: 1000 }

/** Puts a value at the end, and drops the first one where there are too many. */
const keep = <A>(kept: Map<string, A>, key: string, value: A, most: number): A => {
  kept.delete(key)
  kept.set(key, value)
  const [oldest] = kept.keys()
  if (kept.size > most && oldest !== undefined) kept.delete(oldest)
  return value
}

export const make = (options: Options) => {
  const { handles, services = {} } = options
  const definitions = new Map<string, Definition.Definition>()
  const byKey = new Map<string, Service.Service>()
  const made = new WeakMap<Service.Settings, Service.Service>()
  const makeService = (workflow: string, name: string, settings: Service.Settings, text = ""): Service.Service => {
    const key = JSON.stringify([name, settings, text])
    const service = byKey.get(key) ?? Services.make(settings, options, {
      name: handles.nameOf(workflow, name),
      text,
      register: handles.register(workflow, name)
    })
    made.set(settings, service)
    return keep(byKey, key, service, capacity.services)
  }
  return {
    read: Effect.fnUntraced(function*(text: string) {
      const definition = definitions.get(text) ?? (yield* Definition.read({ name: "workflow", text, services }))
      return keep(definitions, text, definition, capacity.definitions)
    }),
    serviceOf: (definition: Definition.Definition, name: string): Service.Service => {
      const settings = definition.file.services?.[name]
      const found = settings === undefined
        ? services[name]
        : made.get(settings) ?? makeService(definition.name, name, settings, definition.templates[name])
      if (found === undefined) throw new Error(`There is no service ${name}`)
      return found
    }
  }
}
