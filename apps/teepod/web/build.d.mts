export declare function buildPage(): Promise<Map<string, Buffer>>;
