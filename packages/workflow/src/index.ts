export * as Definition from "./Definition.ts"
export * as Expression from "./Expression.ts"
