/** A part of a request that is wrong. */
import { Rejection } from "../../Rejection.ts"

export const wrong = (param: string, detail: string) => new Rejection({ case: "InvalidField", param, detail })
