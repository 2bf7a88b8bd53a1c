/** One tracer for every process that spans are attributed to: the coordinator, and each executor. */
import type { Tracer } from "@opentelemetry/api";
import { resources, tracing } from "@opentelemetry/sdk-node";
import { VERSION } from "../../proto/version.js";

const SCOPE = "thermocline";

export function serviceResource(service: string): resources.Resource {
  return resources
    .defaultResource()
    .merge(resources.resourceFromAttributes({ "service.name": service, "service.version": VERSION }));
}

export class Tracers {
  readonly coordinator: Tracer;
  private readonly executors = new Map<string, Tracer>();

  /**
   * @param processor takes the spans of all of them
   * @param ratio share of requests without a sampled or unsampled parent to trace, 0 to 1
   */
  constructor(
    private readonly processor: tracing.SpanProcessor,
    ratio: number,
  ) {
    const root = new tracing.TraceIdRatioBasedSampler(ratio);
    this.coordinator = this.create("thermocline-coordinator", new tracing.ParentBasedSampler({ root }));
  }

  /** The executors' spans are made here from their timing records, on their behalf. */
  executor(name: string): Tracer {
    let tracer = this.executors.get(name);
    if (tracer === undefined) {
      // Only steps of sampled requests come here.
      tracer = this.create(`thermocline-${name}`, new tracing.AlwaysOnSampler());
      this.executors.set(name, tracer);
    }
    return tracer;
  }

  private create(service: string, sampler: tracing.Sampler): Tracer {
    const provider = new tracing.BasicTracerProvider({
      resource: serviceResource(service),
      sampler,
      spanProcessors: [this.processor],
    });
    return provider.getTracer(SCOPE, VERSION);
  }
}
