/** grpc.health.v1: https://github.com/grpc/grpc/blob/master/doc/health-checking.md */
import { Code, ConnectError, type HandlerContext, type ServiceImpl } from "@connectrpc/connect";
import {
  type Health as HealthDescription,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "../../proto/gen/health/v1/health_pb.js";

/** The health of the whole server, asked for by the empty name or by that of a service it covers. */
export class Health {
  private readonly names: ReadonlySet<string>;
  private status = ServingStatus.NOT_SERVING;
  private closed = false;
  private readonly watchers = new Set<() => void>();

  /** Not serving at first. @param services full names of the services that depend on the model */
  constructor(services: readonly string[]) {
    this.names = new Set(["", ...services]);
  }

  setServing(serving: boolean): void {
    this.status = serving ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
    this.wakeWatchers();
  }

  /** Ends every Watch after a last NOT_SERVING. */
  close(): void {
    this.closed = true;
    this.setServing(false);
  }

  readonly service: ServiceImpl<typeof HealthDescription> = {
    check: ({ service }) => {
      if (!this.names.has(service))
        throw new ConnectError(`there is no service "${service}" here`, Code.NotFound);
      return { status: this.status };
    },
    list: () => ({
      statuses: Object.fromEntries([...this.names].map((name) => [name, { status: this.status }])),
    }),
    watch: ({ service }, context) => this.watch(service, context),
  };

  private async *watch(
    service: string,
    { signal }: HandlerContext,
  ): AsyncGenerator<{ status: ServingStatus }> {
    const statusNow = () => (this.names.has(service) ? this.status : ServingStatus.SERVICE_UNKNOWN);
    for (let sent: ServingStatus | null = null; !signal.aborted; ) {
      const status = statusNow();
      if (status !== sent) yield { status };
      sent = status;
      if (this.closed) return;
      if (status === statusNow()) await this.untilChanged(signal);
    }
  }

  private async untilChanged(signal: AbortSignal): Promise<void> {
    await new Promise<void>((resolve) => {
      const wake = () => {
        this.watchers.delete(wake);
        signal.removeEventListener("abort", wake);
        resolve();
      };
      this.watchers.add(wake);
      signal.addEventListener("abort", wake);
    });
  }

  private wakeWatchers(): void {
    for (const wake of [...this.watchers]) wake();
  }
}
