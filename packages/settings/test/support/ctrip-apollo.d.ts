declare module "ctrip-apollo" {
  interface Namespace {
    on(event: "change", listener: (change: { readonly oldValue: string; readonly newValue: string }) => void): void
    ready(): Promise<void>
  }
  interface Cluster {
    namespace(name: string): Namespace
    enableUpdateNotification(enable: boolean): void
  }
  const apollo: (options: { readonly host: string; readonly appId: string }) => {
    cluster(name: string): Cluster
  }
  export default apollo
}
