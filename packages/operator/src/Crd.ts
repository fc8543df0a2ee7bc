/**
 * The CustomResourceDefinition of `BallastModel`, made from the schemas that the controller reads with.
 *
 * The API server checks more than the controller needs, so that a wrong resource is refused by `kubectl apply`. A structural schema of
 * Kubernetes knows no `additionalProperties: true`, and keeps unknown fields only where it is told to.
 * https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import * as BallastModel from "./BallastModel.ts"

type Json = Readonly<Record<string, unknown>>

const isObject = (value: unknown): value is Json => typeof value === "object" && value !== null && !Array.isArray(value)

const entries = (schema: Json): ReadonlyArray<readonly [string, unknown]> =>
  Object.entries(schema).flatMap(([key, value]): ReadonlyArray<readonly [string, unknown]> => {
    if (value === true && key === "additionalProperties") return []
    if (key === "allOf" && Array.isArray(value)) return value.filter(isObject).flatMap(entries)
    if (key === "properties" && isObject(value)) {
      return [[key, Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, structural(inner)]))]]
    }
    return [[key, isObject(value) ? structural(value) : value]]
  })

/** A JSON Schema of Effect as Kubernetes wants it. */
const structural = (schema: unknown): Json => {
  const made: Json = Object.fromEntries(entries(isObject(schema) ? schema : {}))
  const isOpen = made["type"] === undefined ||
    (made["type"] === "object" && made["properties"] === undefined && made["additionalProperties"] === undefined)
  return isOpen ? { ...made, "x-kubernetes-preserve-unknown-fields": true } : made
}

const schemaOf = (schema: Schema.Top): Json => structural(Schema.toJsonSchemaDocument(schema).schema)

const column = (name: string, type: "string" | "integer" | "date", jsonPath: string, priority = 0) => ({
  name,
  type,
  jsonPath,
  ...(priority > 0 && { priority })
})

const condition = (type: string, field: string): string => `.status.conditions[?(@.type=="${type}")].${field}`

/**
 * The definition, ready for `kubectl apply`.
 *
 * @category constants
 * @since 0.1.0
 */
export const crd = {
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: `${BallastModel.plural}.${BallastModel.group}` },
  spec: {
    group: BallastModel.group,
    scope: "Namespaced",
    names: {
      kind: "BallastModel",
      listKind: "BallastModelList",
      plural: BallastModel.plural,
      singular: "ballastmodel",
      shortNames: ["bm"]
    },
    versions: [{
      name: "v1alpha1",
      served: true,
      storage: true,
      subresources: { status: {} },
      additionalPrinterColumns: [
        column("Wished", "string", ".spec.version"),
        column("Serving", "string", ".status.stable.version"),
        column("Canary", "integer", ".status.canary.weight"),
        column("Pods", "integer", ".status.readyPods"),
        column("Ready", "string", condition("Ready", "status")),
        column("Reason", "string", condition("Progressing", "reason")),
        column("Message", "string", condition("Progressing", "message"), 1),
        column("Age", "date", ".metadata.creationTimestamp")
      ],
      schema: {
        openAPIV3Schema: {
          type: "object",
          description: "A model that the gateways of the namespace serve.",
          required: ["spec"],
          // The name stands in a label of the pods.
          "x-kubernetes-validations": [{
            rule: "size(self.metadata.name) <= 63",
            message: "metadata.name must have at most 63 characters"
          }],
          properties: {
            apiVersion: { type: "string" },
            kind: { type: "string" },
            metadata: { type: "object" },
            spec: schemaOf(BallastModel.Spec),
            status: schemaOf(BallastModel.Status)
          }
        }
      }
    }]
  }
} as const
