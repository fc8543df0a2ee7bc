/** The rights that the operator uses. The Role of the chart gives them, and no others. */
export const rights = [
  "create events",
  "create leases",
  "get ballastmodels",
  "get leases",
  "list ballastmodels",
  "list pods",
  "patch pods",
  "update ballastmodels",
  "update ballastmodels/status",
  "update leases",
  "watch ballastmodels",
  "watch pods"
]
