// Prints Apache Kafka's own tables of APIs and error codes:
//
//   java -cp kafka-clients.jar:slf4j-api.jar protocol/oracle/KafkaTables.java > protocol/oracle/kafka_tables.golden
//
// "api KEY NAME VERSION REQUEST-HEADER RESPONSE-HEADER" for each stable version of each API of a broker's listener,
// "error CODE NAME retriable|final" for each error code.

import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.message.ApiMessageType.ListenerType;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.Errors;

class KafkaTables {
    public static void main(String[] arguments) {
        for (ApiKeys api : ApiKeys.apisForListener(ListenerType.BROKER)) {
            for (int version = api.oldestVersion(); version <= api.latestVersion(false); version++) {
                System.out.printf("api %d %s %d %d %d%n", api.id, api.name, version,
                        api.requestHeaderVersion((short) version), api.responseHeaderVersion((short) version));
            }
        }
        for (Errors error : Errors.values()) {
            boolean retriable = error.exception() instanceof RetriableException;
            System.out.printf("error %d %s %s%n", error.code(), error.name(), retriable ? "retriable" : "final");
        }
    }
}
