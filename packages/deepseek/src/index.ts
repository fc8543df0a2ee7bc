export * as DeepSeek from "./DeepSeek.ts"
export * as Json from "./Json.ts"
export * as Undici from "./Undici.ts"
