/** Tells the tool calls of a stream apart, so that each fragment has the index of its call, and each call an id. */
import { limits } from "../Limits.ts"
import * as read from "./read.ts"

/** A call as far as it has come. */
interface Call {
  readonly index: number
  id: string
  name: string
  /** The last character of its arguments. */
  last: string
}

interface Fragment {
  readonly index: number | undefined
  readonly id: string
  readonly name: string
  readonly arguments: string
}

/**
 * The calls of one message.
 *
 * Services leave out indices or ids, give all calls the index 0, repeat name and id in each fragment, or send them again as empty texts.
 * A fragment belongs to the call with its id, else to the latest call with its index, else to the latest call; unless it has a name and
 * something says that this is another call.
 */
export class ToolCalls {
  readonly byId = new Map<string, Call>()
  /** The latest call for each index that came. */
  readonly byIndex = new Map<number, Call>()
  readonly taken = new Set<number>()
  latest: Call | undefined
  next = 0

  /** Repairs a fragment in place. Says whether there was room for its call. */
  add(json: read.Json, answer: unknown, repairs: read.Repairs): boolean {
    const fragment = fragmentOf(json, repairs)
    const known = this.find(fragment)
    if (known === undefined && this.taken.size === limits.toolCalls) return false
    const call = known ?? this.open(fragment, answer)
    this.latest = call
    if (fragment.index !== undefined) this.byIndex.set(fragment.index, call)
    if (json["index"] !== call.index) set(json, "index", call.index, repairs)
    if (known === undefined) begin(json, call, repairs)
    else go(json, call, fragment, repairs)
    if (fragment.arguments !== "") call.last = fragment.arguments.slice(-1)
    return true
  }

  private find(fragment: Fragment): Call | undefined {
    const same = fragment.id === "" ? undefined : this.byId.get(fragment.id)
    if (same !== undefined) return same
    const call = fragment.index === undefined ? this.latest : this.byIndex.get(fragment.index)
    return call === undefined || isAnother(call, fragment) ? undefined : call
  }

  private open({ id, index, name }: Fragment, answer: unknown): Call {
    const own = index === undefined || this.taken.has(index) ? this.next : index
    const call = { index: own, id: id === "" ? read.makeId(own, answer) : id, name, last: "" }
    this.taken.add(own)
    this.next = Math.max(this.next, own + 1)
    this.byId.set(call.id, call)
    return call
  }
}

const isIndex = (index: unknown): index is number => Number.isSafeInteger(index) && Number(index) >= 0

const fragmentOf = (json: read.Json, repairs: read.Repairs): Fragment => {
  const { function: named, id, index } = json
  const name = read.isObject(named) ? named["name"] : undefined
  return {
    index: isIndex(index) ? index : undefined,
    id: typeof id === "string" ? id : "",
    name: typeof name === "string" ? name : "",
    arguments: read.argumentsOf(json, repairs)
  }
}

/** Whether a fragment that seems to belong to a call begins another one. */
const isAnother = (call: Call, { arguments: given, id, name }: Fragment): boolean => {
  // A service may make up a new id for each fragment, but then only the first has a name.
  if (name === "" || call.name === "") return false
  if (id !== "") return true
  return name === call.name ? call.last === "}" && given.startsWith("{") : given !== "" || call.last !== ""
}

const set = (json: read.Json, name: string, value: unknown, repairs: read.Repairs): void => {
  json[name] = value
  repairs.changed = true
}

/** The first fragment has the id and the type. */
const begin = (json: read.Json, call: Call, repairs: read.Repairs): void => {
  if (json["id"] !== call.id) set(json, "id", call.id, repairs)
  if (typeof json["type"] !== "string" || json["type"] === "") set(json, "type", "function", repairs)
  if (!read.isObject(json["function"]) && json["function"] != null) set(json, "function", null, repairs)
}

/** A further fragment has nothing that would erase or double what the first one said. */
const go = (json: read.Json, call: Call, { id, name }: Fragment, repairs: read.Repairs): void => {
  if (json["id"] != null && id !== call.id) set(json, "id", id === "" ? null : call.id, repairs)
  if (json["type"] === "") set(json, "type", null, repairs)
  const { function: named } = json
  if (!read.isObject(named)) {
    if (named != null) set(json, "function", null, repairs)
  } else if (call.name === "") call.name = name
  else if (named["name"] != null && (name === "" || name === call.name)) set(named, "name", null, repairs)
  else call.name += name
}
